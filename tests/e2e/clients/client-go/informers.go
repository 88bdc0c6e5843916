// Shared informers, typed, dynamic and of metadata: what they have seen is what is there, each change once, also when the
// server was killed and changes happened before they were back.
package main

import (
	"fmt"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// seen is what a handler was told.
type seen struct {
	name  string
	mu    sync.Mutex
	added map[string]int
	gone  map[string]int
	// by uid and resourceVersion
	changed map[string]int
	// updates that changed nothing: what a relist says
	again int
	store cache.Store
}

func watchInformer(name string, informer cache.SharedIndexInformer) (*seen, error) {
	s := &seen{name: name, added: map[string]int{}, gone: map[string]int{}, changed: map[string]int{}, store: informer.GetStore()}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { s.note(o, func(m metav1.Object) { s.added[m.GetName()+" "+string(m.GetUID())]++ }) },
		UpdateFunc: func(old, new any) {
			s.note(new, func(m metav1.Object) {
				if m.GetResourceVersion() == old.(metav1.Object).GetResourceVersion() {
					s.again++
					return
				}
				s.changed[m.GetName()+" "+string(m.GetUID())+" "+m.GetResourceVersion()]++
			})
		},
		DeleteFunc: func(o any) {
			if missed, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = missed.Obj
			}
			s.note(o, func(m metav1.Object) { s.gone[m.GetName()+" "+string(m.GetUID())]++ })
		},
	})
	return s, err
}

func (s *seen) note(o any, f func(metav1.Object)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(o.(metav1.Object))
}

// once fails when something was said twice, or the wrong number of things was said. Fewer changes may be said than were
// made when the informer was away; never more.
func (s *seen) once(added, changed, gone int, all bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, counts := range []map[string]int{s.added, s.changed, s.gone} {
		for what, count := range counts {
			if count != 1 {
				return fmt.Errorf("%s: %s was said %d times", s.name, what, count)
			}
		}
	}
	if len(s.added) != added || len(s.gone) != gone || len(s.changed) > changed || all && len(s.changed) != changed {
		return fmt.Errorf("%s: added %d, changed %d, deleted %d; made %d, %d, %d", s.name, len(s.added), len(s.changed), len(s.gone), added, changed, gone)
	}
	return nil
}

// same compares the store with a list.
func (s *seen) same(want map[string]string) error {
	items := s.store.List()
	for _, item := range items {
		m := item.(metav1.Object)
		if want[m.GetName()] != m.GetResourceVersion() {
			return fmt.Errorf("%s: %s is %q, not %q", s.name, m.GetName(), m.GetResourceVersion(), want[m.GetName()])
		}
	}
	if len(items) != len(want) {
		return fmt.Errorf("%s: %d items, not %d", s.name, len(items), len(want))
	}
	return nil
}

func (h *harness) listed() (map[string]string, error) {
	list, err := h.fast.CoreV1().ConfigMaps(h.ns).List(h.ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, item := range list.Items {
		versions[item.Name] = item.ResourceVersion
	}
	return versions, nil
}

// change creates, updates and deletes: objects from..to, of which each is updated and each second is deleted again.
func (h *harness) change(from, to int) (created, updated, deleted int, err error) {
	maps := h.fast.CoreV1().ConfigMaps(h.ns)
	for n := from; n < to; n++ {
		object, err := maps.Create(h.ctx, configMap(fmt.Sprintf("map-%03d", n), "one"), metav1.CreateOptions{})
		if err != nil {
			return 0, 0, 0, err
		}
		created++
		object.Data["value"] = "two"
		if _, err = maps.Update(h.ctx, object, metav1.UpdateOptions{}); err != nil {
			return 0, 0, 0, err
		}
		updated++
		if n%2 == 1 {
			if err = maps.Delete(h.ctx, object.Name, metav1.DeleteOptions{}); err != nil {
				return 0, 0, 0, err
			}
			deleted++
		}
	}
	return created, updated, deleted, nil
}

func informersScenario(h *harness) error {
	var wires [3]wire
	client, err := kubernetes.NewForConfig(wires[0].of(h.config))
	if err != nil {
		return err
	}
	dyn, err := dynamic.NewForConfig(wires[1].of(h.config))
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(wires[2].of(h.config))
	if err != nil {
		return err
	}
	gvr := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	typed := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(h.ns))
	dynamics := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, h.ns, nil)
	metas := metadatainformer.NewFilteredSharedInformerFactory(meta, 0, h.ns, nil)
	all := make([]*seen, 3)
	for n, informer := range []cache.SharedIndexInformer{
		typed.Core().V1().ConfigMaps().Informer(), dynamics.ForResource(gvr).Informer(), metas.ForResource(gvr).Informer(),
	} {
		if all[n], err = watchInformer([]string{"typed", "dynamic", "metadata"}[n], informer); err != nil {
			return err
		}
	}
	// others beside it, as a controller has
	typed.Core().V1().Pods().Informer()
	typed.Core().V1().Secrets().Informer()
	typed.Apps().V1().Deployments().Informer()
	typed.Batch().V1().Jobs().Informer()
	typed.Coordination().V1().Leases().Informer()
	if _, _, _, err := h.change(0, 60); err != nil {
		return err
	}
	first, err := h.listed()
	if err != nil {
		return err
	}
	typed.Start(h.ctx.Done())
	dynamics.Start(h.ctx.Done())
	metas.Start(h.ctx.Done())
	for kind, synced := range typed.WaitForCacheSync(h.ctx.Done()) {
		if !synced {
			return fmt.Errorf("%s did not sync", kind)
		}
	}
	dynamics.WaitForCacheSync(h.ctx.Done())
	metas.WaitForCacheSync(h.ctx.Done())
	added, changed, gone := len(first), 0, 0
	check := func(complete bool) error {
		want, err := h.listed()
		if err != nil {
			return err
		}
		for _, s := range all {
			err := eventually("the informer has seen everything once", func() error {
				if err := s.same(want); err != nil {
					return err
				}
				return s.once(added, changed, gone, complete)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := check(true); err != nil {
		return err
	}
	for n := range wires {
		if err := streamed(&wires[n], n); err != nil {
			return err
		}
	}
	fact("three informers synced from watches alone, protobuf where client-go prefers it")

	a, u, d, err := h.change(100, 120)
	if err != nil {
		return err
	}
	added, changed, gone = added+a, changed+u, gone+d
	if err := check(true); err != nil {
		return err
	}
	fact("every change was seen once")

	for round := range 2 {
		if err := h.restart(); err != nil {
			return err
		}
		// before they are back
		a, u, d, err := h.change(200+20*round, 220+20*round)
		if err != nil {
			return err
		}
		// objects may come and go unseen between two lists
		if err := h.survived(all, &added, &changed, &gone, a, u, d); err != nil {
			return err
		}
		fact("after restart %d every change was seen at most once, and nothing is missing", round+1)
		if a, u, d, err = h.change(300+20*round, 310+20*round); err != nil {
			return err
		}
		if err := h.survived(all, &added, &changed, &gone, a, u, d); err != nil {
			return err
		}
		fact("after restart %d the informers go on", round+1)
	}
	for _, s := range all {
		fmt.Printf("%s: %d relisted\n", s.name, s.again)
	}
	return nil
}

// survived checks stores, and that nothing was said twice.
func (h *harness) survived(all []*seen, added, changed, gone *int, a, u, d int) error {
	*added, *changed, *gone = *added+a, *changed+u, *gone+d
	want, err := h.listed()
	if err != nil {
		return err
	}
	for _, s := range all {
		err := eventually("the informer has seen everything", func() error { return s.same(want) })
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, counts := range []map[string]int{s.added, s.changed, s.gone} {
			for what, count := range counts {
				if count != 1 {
					err = fmt.Errorf("%s: %s was said %d times", s.name, what, count)
				}
			}
		}
		if len(s.added)-len(s.gone) != len(want) {
			err = fmt.Errorf("%s: added %d, deleted %d, there are %d", s.name, len(s.added), len(s.gone), len(want))
		}
		if len(s.added) > *added || len(s.changed) > *changed || len(s.gone) > *gone {
			err = fmt.Errorf("%s: more was said than done", s.name)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// streamed holds when the informers began with a stream, not with a list, in the encoding that client-go asks for.
func streamed(w *wire, number int) error {
	want := []string{"application/vnd.kubernetes.protobuf;stream=watch", "application/json", "application/vnd.kubernetes.protobuf;stream=watch"}[number]
	if lists := w.noted(isList); len(lists) > 0 {
		return fmt.Errorf("an informer fell back to a list: %+v", lists)
	}
	watches := w.noted(func(c call) bool { return strings.Contains(c.query, "sendInitialEvents=true") })
	if len(watches) == 0 {
		return fmt.Errorf("no informer asked for initial events")
	}
	for _, c := range watches {
		if c.got != want {
			return fmt.Errorf("a watch came as %q, not %q: %+v", c.got, want, c)
		}
	}
	return nil
}
