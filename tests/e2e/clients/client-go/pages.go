// Lists in pages, and watches that are resumed.
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	watchtools "k8s.io/client-go/tools/watch"
)

func pages(h *harness) error {
	const count = 57
	maps := h.fast.CoreV1().ConfigMaps(h.ns)
	for n := range count {
		object := configMap(fmt.Sprintf("page-%03d", n), "")
		object.Labels = map[string]string{"paged": "yes"}
		if _, err := maps.Create(h.ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	var w wire
	client, err := kubernetes.NewForConfig(w.of(h.config))
	if err != nil {
		return err
	}
	options := metav1.ListOptions{LabelSelector: "paged=yes"}
	pager := pager.New(pager.SimplePageFunc(func(opts metav1.ListOptions) (runtime.Object, error) {
		if opts.Continue != "" {
			// between the pages: none of these may be seen
			late := configMap(fmt.Sprintf("page-%03d-late-%d", count, len(w.noted(isList))), "")
			late.Labels = map[string]string{"paged": "yes"}
			if _, err := maps.Create(h.ctx, late, metav1.CreateOptions{}); err != nil {
				return nil, err
			}
		}
		return client.CoreV1().ConfigMaps(h.ns).List(h.ctx, opts)
	}))
	pager.PageSize = 10
	var names []string
	err = pager.EachListItem(h.ctx, options, func(object runtime.Object) error {
		names = append(names, object.(*corev1.ConfigMap).Name)
		return nil
	})
	if err != nil {
		return err
	}
	if len(names) != count || names[0] != "page-000" || strings.Contains(names[count-1], "late") || len(w.noted(isList)) != 6 {
		return fmt.Errorf("%d names in %d pages: %v", len(names), len(w.noted(isList)), names)
	}
	fact("six pages of one moment")

	page, err := maps.List(h.ctx, metav1.ListOptions{LabelSelector: "paged=yes", Limit: 20})
	if err != nil {
		return err
	}
	// with a selector, upstream does not count what remains
	if page.RemainingItemCount != nil {
		return fmt.Errorf("with a selector %d remain", *page.RemainingItemCount)
	}
	if err := h.restart(); err != nil {
		return err
	}
	rest, err := maps.List(h.ctx, metav1.ListOptions{LabelSelector: "paged=yes", Continue: page.Continue})
	if apierrors.IsResourceExpired(err) {
		return fmt.Errorf("a page does not outlive a restart: %w", err)
	} else if err != nil {
		return err
	}
	if len(page.Items)+len(rest.Items) != count+5 || rest.ResourceVersion != page.ResourceVersion {
		return fmt.Errorf("pages of %d and %d, at %s and %s", len(page.Items), len(rest.Items), page.ResourceVersion, rest.ResourceVersion)
	}
	fact("the next page may come after a restart")
	return h.resumed()
}

// resumed holds when a RetryWatcher sees each change in order over a restart.
func (h *harness) resumed() error {
	maps := h.fast.CoreV1().ConfigMaps(h.ns)
	options := metav1.ListOptions{LabelSelector: "watched=yes"}
	list, err := maps.List(h.ctx, options)
	if err != nil {
		return err
	}
	lister := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
		opts.LabelSelector = options.LabelSelector
		return h.client.CoreV1().ConfigMaps(h.ns).Watch(ctx, opts)
	}}
	watcher, err := watchtools.NewRetryWatcherWithContext(h.ctx, list.ResourceVersion, lister)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	create := func(n int) error {
		object := configMap(fmt.Sprintf("watched-%d", n), "")
		object.Labels = map[string]string{"watched": "yes"}
		_, err := maps.Create(h.ctx, object, metav1.CreateOptions{})
		return err
	}
	expect := func(n int) error {
		select {
		case event := <-watcher.ResultChan():
			object, ok := event.Object.(*corev1.ConfigMap)
			if !ok || event.Type != watch.Added || object.Name != fmt.Sprintf("watched-%d", n) {
				return fmt.Errorf("watched-%d came as %s %+v", n, event.Type, event.Object)
			}
			return nil
		case <-time.After(soon):
			return fmt.Errorf("watched-%d did not come", n)
		}
	}
	for n := range 9 {
		if n%3 == 2 {
			if err := h.restart(); err != nil {
				return err
			}
		}
		if err := create(n); err != nil {
			return err
		}
		if n%3 == 2 {
			// two in the gap
			continue
		}
		if n%3 == 0 && n > 0 {
			if err := expect(n - 1); err != nil {
				return err
			}
		}
		if err := expect(n); err != nil {
			return err
		}
	}
	if err := expect(8); err != nil {
		return err
	}
	fact("a watch is resumed over restarts without a gap")
	return nil
}
