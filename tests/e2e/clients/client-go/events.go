// Events as controllers record them: the broadcasters of core/v1 and of events.k8s.io, which count repetitions by patches.
package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
)

func eventsScenario(h *harness) error {
	about, err := h.fast.CoreV1().ConfigMaps(h.ns).Create(h.ctx, configMap("about", ""), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(h.ctx))
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: h.client.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "old-style"})
	recorder.Eventf(about, corev1.EventTypeWarning, "Repeated", "the same %s", "again")
	err = eventually("the first event is there", func() error { return h.counted("Repeated", 1) })
	if err != nil {
		return err
	}
	for range 3 {
		recorder.Eventf(about, corev1.EventTypeWarning, "Repeated", "the same %s", "again")
	}
	if err = eventually("three repetitions are counted in one event", func() error { return h.counted("Repeated", 4) }); err != nil {
		return err
	}
	fact("core/v1 events are counted")

	modern := events.NewBroadcaster(&events.EventSinkImpl{Interface: h.client.EventsV1()})
	if err := modern.StartRecordingToSinkWithContext(h.ctx); err != nil {
		return err
	}
	defer modern.Shutdown()
	teller := modern.NewRecorder(scheme.Scheme, "example.com/new-style")
	teller.Eventf(about, nil, corev1.EventTypeNormal, "Told", "Telling", "once and %s", "again")
	err = eventually("the event is there in both groups", func() error {
		found, err := h.fast.EventsV1().Events(h.ns).List(h.ctx, metav1.ListOptions{FieldSelector: "reason=Told"})
		if err != nil {
			return err
		}
		if len(found.Items) != 1 || found.Items[0].Note != "once and again" || found.Items[0].ReportingController != "example.com/new-style" {
			return fmt.Errorf("events are %+v", found.Items)
		}
		old, err := h.fast.CoreV1().Events(h.ns).List(h.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=about,reason=Told"})
		if err == nil && (len(old.Items) != 1 || old.Items[0].UID != found.Items[0].UID || old.Items[0].Message != "once and again") {
			err = fmt.Errorf("the same in core/v1 is %+v", old.Items)
		}
		return err
	})
	if err != nil {
		return err
	}
	// a repetition becomes a series
	teller.Eventf(about, nil, corev1.EventTypeNormal, "Told", "Telling", "once and %s", "again")
	err = eventually("a repetition is a series", func() error {
		found, err := h.fast.EventsV1().Events(h.ns).List(h.ctx, metav1.ListOptions{FieldSelector: "reason=Told"})
		if err == nil && (len(found.Items) != 1 || found.Items[0].Series == nil || found.Items[0].Series.Count != 2) {
			err = fmt.Errorf("events are %+v", found.Items)
		}
		return err
	})
	if err == nil {
		fact("events.k8s.io events have a series")
	}
	return err
}

func (h *harness) counted(reason string, times int32) error {
	found, err := h.fast.CoreV1().Events(h.ns).List(h.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=about,reason=" + reason})
	if err != nil {
		return err
	}
	if len(found.Items) != 1 || found.Items[0].Count != times || found.Items[0].Source.Component != "old-style" {
		return fmt.Errorf("events are %+v", found.Items)
	}
	return nil
}
