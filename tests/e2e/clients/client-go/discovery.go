// Discovery as the libraries use it: aggregated, cached, as a REST mapper; and clients that know no types.
package main

import (
	"fmt"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
)

func discoveryScenario(h *harness) error {
	var w wire
	found, err := discovery.NewDiscoveryClientForConfig(w.of(h.config))
	if err != nil {
		return err
	}
	version, err := found.ServerVersion()
	if err != nil || version.Major != "1" || version.Minor != "37" {
		return fmt.Errorf("the version is %+v: %v", version, err)
	}
	groups, lists, err := found.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	// /version and two documents: the aggregated form is understood
	if calls := w.noted(func(call) bool { return true }); len(calls) != 3 || len(groups) < 18 {
		return fmt.Errorf("%d groups after %d requests", len(groups), len(calls))
	}
	preferred, err := found.ServerPreferredNamespacedResources()
	if err != nil {
		return err
	}
	fact("%d groups and %d versions by aggregated discovery, %v", len(groups), len(lists), len(preferred) > 10)

	cached := memory.NewMemCacheClient(found)
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	for _, kind := range []struct{ group, kind, resource, version string }{
		{"", "Pod", "pods", "v1"}, {"apps", "Deployment", "deployments", "v1"}, {"autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "v2"},
		{"networking.k8s.io", "Ingress", "ingresses", "v1"}, {"events.k8s.io", "Event", "events", "v1"}, {"apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "v1"},
	} {
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: kind.group, Kind: kind.kind})
		if err != nil {
			return err
		}
		if mapping.Resource.Resource != kind.resource || mapping.Resource.Version != kind.version {
			return fmt.Errorf("%s is %v", kind.kind, mapping.Resource)
		}
	}
	if kind, err := mapper.KindFor(schema.GroupVersionResource{Resource: "deploy"}); err != nil || kind.Kind != "Deployment" {
		return fmt.Errorf("deploy is %v: %v", kind, err)
	}
	fact("a REST mapper maps kinds and short names")

	root := openapi3.NewRoot(found.OpenAPIV3())
	spec, err := root.GVSpec(schema.GroupVersion{Group: "apps", Version: "v1"})
	if err != nil || spec.Components.Schemas["io.k8s.api.apps.v1.Deployment"] == nil {
		return fmt.Errorf("no schema of apps/v1: %v", err)
	}
	document, err := found.OpenAPISchema()
	if err != nil || len(document.Definitions.AdditionalProperties) < 500 {
		return fmt.Errorf("no OpenAPI v2 document: %v", err)
	}
	fact("OpenAPI v3 as JSON and v2 as protobuf")
	return h.untyped(mapper, found)
}

func (h *harness) untyped(mapper apimeta.RESTMapper, found discovery.DiscoveryInterface) error {
	dyn, err := dynamic.NewForConfig(h.config)
	if err != nil {
		return err
	}
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "dynamic", "labels": map[string]any{"app": "dynamic"}},
		"spec": map[string]any{"replicas": int64(0), "selector": map[string]any{"matchLabels": map[string]any{"app": "dynamic"}}, "template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": "dynamic"}},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "main", "image": "example.com/app:1"}}}}},
	}}
	applied, err := dyn.Resource(deployments).Namespace(h.ns).Apply(h.ctx, "dynamic", object, metav1.ApplyOptions{FieldManager: "dynamic"})
	if err != nil {
		return err
	}
	if kind, _, _ := unstructured.NestedString(applied.Object, "spec", "strategy", "type"); kind != "RollingUpdate" {
		return fmt.Errorf("applied %+v", applied.Object)
	}
	meta, err := metadata.NewForConfig(h.config)
	if err != nil {
		return err
	}
	list, err := meta.Resource(deployments).Namespace(h.ns).List(h.ctx, metav1.ListOptions{LabelSelector: "app in (dynamic)"})
	if err != nil || len(list.Items) != 1 || list.Items[0].UID != applied.GetUID() {
		return fmt.Errorf("metadata says %+v: %v", list, err)
	}
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil {
		return err
	}
	scales, err := scale.NewForConfig(h.config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(found))
	if err != nil {
		return err
	}
	one, err := scales.Scales(h.ns).Get(h.ctx, mapping.Resource.GroupResource(), "dynamic", metav1.GetOptions{})
	if err != nil || one.UID != applied.GetUID() || !strings.Contains(one.Status.Selector, "app=dynamic") {
		return fmt.Errorf("the scale is %+v: %v", one, err)
	}
	fact("dynamic, metadata and scale clients agree")
	return nil
}
