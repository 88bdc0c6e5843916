// Answers as data: without what is made by chance, and where two differ.
package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

func plain(text []byte) any {
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return string(text)
	}
	return tree
}

// chance is what the server makes up for each request.
var chance = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|kube-api-access-[a-z0-9]{5}`)

// scrubbed is data without what differs between two requests.
func (e *encoder) scrubbed(text []byte) any {
	tree := plain(e.chance.ReplaceAll(text, []byte("x")))
	clean(tree)
	return untyped(tree)
}

func clean(tree any) {
	switch tree := tree.(type) {
	case map[string]any:
		for _, name := range []string{"creationTimestamp", "resourceVersion", "time", "lastTransitionTime", "clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort", "token", "expirationTimestamp"} {
			if tree[name] != nil {
				tree[name] = "x"
			}
		}
		if name, is := tree["generateName"].(string); is && name != "" {
			tree["name"] = "x"
		}
		for _, inner := range tree {
			clean(inner)
		}
	case []any:
		for _, inner := range tree {
			clean(inner)
		}
	}
}

// untyped drops kind and apiVersion inside: protobuf has no place for them.
func untyped(tree any) any {
	switch tree := tree.(type) {
	case map[string]any:
		for _, list := range []string{"volumeClaimTemplates", "items"} {
			items, is := tree[list].([]any)
			if is && len(items) == 0 {
				// none and nil are one in protobuf
				tree[list] = nil
			}
			for _, item := range items {
				if item, is := item.(map[string]any); is {
					delete(item, "kind")
					delete(item, "apiVersion")
				}
			}
		}
		for _, inner := range tree {
			untyped(inner)
		}
	case []any:
		for _, inner := range tree {
			untyped(inner)
		}
	}
	return tree
}

// difference shows where two trees first differ.
func difference(a, b any) string { return differenceAt("", a, b) }

func differenceAt(path string, a, b any) string {
	if one, is := a.(map[string]any); is {
		if two, is := b.(map[string]any); is {
			var all strings.Builder
			for key := range one {
				if !reflect.DeepEqual(one[key], two[key]) {
					all.WriteString(differenceAt(path+"."+key, one[key], two[key]))
				}
			}
			for key := range two {
				if _, is := one[key]; !is {
					all.WriteString(differenceAt(path+"."+key, nil, two[key]))
				}
			}
			if all.Len() > 0 {
				return all.String()
			}
		}
	}
	if one, is := a.([]any); is {
		if two, is := b.([]any); is && len(one) == len(two) {
			for n := range one {
				if !reflect.DeepEqual(one[n], two[n]) {
					return differenceAt(fmt.Sprintf("%s[%d]", path, n), one[n], two[n])
				}
			}
		}
	}
	show := func(tree any) string {
		text, _ := json.Marshal(tree)
		return string(text[:min(len(text), 600)])
	}
	return fmt.Sprintf("  %s: %s | %s\n", path, show(a), show(b))
}
