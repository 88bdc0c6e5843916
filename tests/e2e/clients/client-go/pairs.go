// `client-go pairs DIR [FOLDER…]`: objects of every kind that client-go knows, each as JSON and as protobuf, written by its
// own serializers, for Lanyard's codec to be compared with. Filled to the last field; at random, with absent and empty
// fields; and those in the bodies of recorded answers (`*.golden.json`) in the folders.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

// known is client-go's scheme and that of definitions.
var known = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

var (
	codecs    = serializer.NewCodecFactory(known, serializer.EnableStrict)
	asJSON    = kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, known, known, kjson.SerializerOptions{Strict: true})
	asMessage = protobuf.NewSerializer(known, known)
)

const perKind = 12

func pairs(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: client-go pairs DIR [FOLDER…]")
	}
	dir := args[0]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	random := filler()
	count := 0
	for _, gvk := range kinds() {
		for n := range perKind + 1 {
			object, err := made(gvk, n, random)
			if err != nil {
				return fmt.Errorf("%s: %w", gvk, err)
			}
			name := fmt.Sprintf("%s.%s.%s.%d", gvk.Group, gvk.Version, gvk.Kind, n)
			if written, err := writePair(dir, name, object); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			} else if written {
				count++
			}
		}
	}
	for _, folder := range args[1:] {
		more, err := recorded(dir, folder)
		if err != nil {
			return err
		}
		count += more
	}
	fmt.Printf("%d pairs\n", count)
	return nil
}

// kinds are those that are objects or lists and have a message; not the internal versions, not options.
func kinds() []schema.GroupVersionKind {
	var found []schema.GroupVersionKind
	for gvk := range known.AllKnownTypes() {
		object, err := known.New(gvk)
		if err != nil || gvk.Version == runtime.APIVersionInternal {
			continue
		}
		_, single := object.(metav1.ObjectMetaAccessor)
		_, list := object.(metav1.ListMetaAccessor)
		if _, message := object.(interface{ MarshalTo([]byte) (int, error) }); message && (single || list) {
			found = append(found, gvk)
		}
	}
	slices.SortFunc(found, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return found
}

func made(gvk schema.GroupVersionKind, n int, random *randfill.Filler) (runtime.Object, error) {
	if n == 0 {
		return roundtrip.CompatibilityTestObject(known, gvk, nil)
	}
	object, err := known.New(gvk)
	if err != nil {
		return nil, err
	}
	random.Fill(object)
	object.GetObjectKind().SetGroupVersionKind(gvk)
	return object, nil
}

func filler() *randfill.Filler {
	funcs := fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any {
		return []any{
			func(q *resource.Quantity, c randfill.Continue) {
				*q = *resource.NewMilliQuantity(int64(c.Intn(100000)), resource.DecimalSI)
			},
			func(t *metav1.TypeMeta, c randfill.Continue) {},
			func(r *runtime.RawExtension, c randfill.Continue) {
				r.Raw = []byte(fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Some","n":%d}`, c.Intn(9)))
			},
			func(f *metav1.FieldsV1, c randfill.Continue) {
				f.SetRawBytes([]byte(`{"f:metadata":{"f:labels":{".":{},"f:a":{}}}}`))
			},
			func(j *apiextensionsv1.JSON, c randfill.Continue) { j.Raw = []byte(`{"a":[1,"b",null]}`) },
			func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
				s.Type, s.Description = "object", c.String(8)
				s.Properties = map[string]apiextensionsv1.JSONSchemaProps{"a": {Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"x"`)}}}
				s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &apiextensionsv1.JSONSchemaProps{Type: "integer"}}
				s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string", Enum: []apiextensionsv1.JSON{{Raw: []byte(`1`)}}}}
			},
		}
	})
	// the same objects every time
	return fuzzer.FuzzerFor(funcs, rand.NewSource(1), codecs).NilChance(0.3).NumElements(0, 2).MaxDepth(24)
}

// writePair writes the object twice; false when it has no message.
func writePair(dir, name string, object runtime.Object) (bool, error) {
	if _, is := object.(interface{ MarshalTo([]byte) (int, error) }); !is {
		return false, nil
	}
	var text bytes.Buffer
	if err := asJSON.Encode(object, &text); err != nil {
		return false, err
	}
	// once through both, so that it has what both can say: as an object that was stored
	gvk := object.GetObjectKind().GroupVersionKind()
	again, _, err := asJSON.Decode(text.Bytes(), &gvk, nil)
	if err != nil {
		return false, err
	}
	var message, second bytes.Buffer
	if err := asMessage.Encode(again, &message); err != nil {
		return false, err
	}
	if again, _, err = asMessage.Decode(message.Bytes(), &gvk, nil); err != nil {
		return false, err
	}
	again.GetObjectKind().SetGroupVersionKind(gvk)
	message.Reset()
	if err := asMessage.Encode(again, &message); err != nil {
		return false, err
	}
	if err := asJSON.Encode(again, &second); err != nil {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), second.Bytes(), 0o644); err != nil {
		return false, err
	}
	return true, os.WriteFile(filepath.Join(dir, name+".pb"), message.Bytes(), 0o644)
}

// recorded writes the objects of recorded answers.
func recorded(dir, folder string) (int, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.golden.json"))
	if err != nil {
		return 0, err
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		// what was hidden becomes something of its type again
		for from, to := range map[string]string{"<time>": "2026-01-02T03:04:05Z", "<microtime>": "2026-01-02T03:04:05.000006Z"} {
			text = bytes.ReplaceAll(text, []byte(from), []byte(to))
		}
		var steps []struct {
			Answer struct {
				Body json.RawMessage `json:"body"`
			} `json:"answer"`
		}
		if err := json.Unmarshal(text, &steps); err != nil {
			continue
		}
		for n, step := range steps {
			object, _, err := asJSON.Decode(step.Answer.Body, nil, nil)
			if err != nil {
				// a status of another shape, a table, a text
				continue
			}
			name := fmt.Sprintf("%s.%d", strings.TrimSuffix(filepath.Base(file), ".golden.json"), n)
			if written, err := writePair(dir, name, object); err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			} else if written {
				count++
			}
		}
	}
	return count, nil
}
