// Every object is the same in both encodings: written as JSON and as protobuf, read as JSON and as protobuf, alone, in lists,
// in watch frames, as metadata only; and so are the Statuses that refuse. client-go's own serializers judge.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

//go:embed objects/*.yaml
var objects embed.FS

const (
	jsonType  = "application/json"
	protoType = "application/vnd.kubernetes.protobuf"
)

// encoder compares; it goes on after a difference and counts.
type encoder struct {
	h                              *harness
	client                         *rest.RESTClient
	mapper                         apimeta.RESTMapper
	vars                           *strings.Replacer
	compared, refused, differences int
	// what differs by chance between two requests
	chance *regexp.Regexp
	// the last refusal
	last []byte
}

func encodings(h *harness) error {
	e, err := newEncoder(h)
	if err != nil {
		return err
	}
	files, err := objects.ReadDir("objects")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := objects.ReadFile("objects/" + file.Name())
		if err != nil {
			return err
		}
		for _, document := range strings.Split(string(text), "\n---\n") {
			if err := e.accepted(file.Name(), document); err != nil {
				return err
			}
		}
	}
	fact("%d objects are the same in both encodings", e.compared)
	if err := e.large(); err != nil {
		return err
	}
	if err := e.statuses(); err != nil {
		return err
	}
	// bodies of recorded cases, where the yardsticks lie
	if folder := os.Getenv("LANYARD_CASES"); folder != "" {
		if err := e.recorded(folder); err != nil {
			return err
		}
		fmt.Printf("%d compared, %d refused alike\n", e.compared, e.refused)
	}
	if e.differences > 0 {
		return fmt.Errorf("%d differences", e.differences)
	}
	return nil
}

func newEncoder(h *harness) (*encoder, error) {
	config := rest.CopyConfig(h.config)
	config.QPS = -1
	config.NegotiatedSerializer = codecs.WithoutConversion()
	config.GroupVersion = &schema.GroupVersion{}
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	csr, bundle, err := certificates()
	if err != nil {
		return nil, err
	}
	vars := strings.NewReplacer("$ns", h.ns, "$tag", h.ns, "$csr", csr, "$bundle", bundle)
	return &encoder{h: h, client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found)), vars: vars, chance: chance}, nil
}

func certificates() (csr, bundle string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "c"}}, key)
	if err != nil {
		return "", "", err
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		return "", "", err
	}
	inPEM := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return base64.StdEncoding.EncodeToString([]byte(inPEM("CERTIFICATE REQUEST", request))), strings.ReplaceAll(inPEM("CERTIFICATE", der), "\n", `\n`), nil
}

func (e *encoder) differ(format string, args ...any) {
	e.differences++
	fmt.Fprintf(os.Stderr, "DIFFERENT: "+format+"\n", args...)
}

// subject is one object on its way.
type subject struct {
	text   []byte
	object runtime.Object
	gvk    schema.GroupVersionKind
	// where it is created, and its name
	collection, name string
}

// subject reads an object as client-go does, strictly.
func (e *encoder) subject(text []byte) (*subject, error) {
	object, gvk, err := asJSON.Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	mapping, err := e.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	meta, err := apimeta.Accessor(object)
	if err != nil {
		return nil, err
	}
	root := "/apis/" + gvk.Group + "/" + gvk.Version
	if gvk.Group == "" {
		root = "/api/" + gvk.Version
	}
	if mapping.Scope.Name() == apimeta.RESTScopeNameNamespace {
		root += "/namespaces/" + e.h.ns
	}
	return &subject{text: text, object: object, gvk: *gvk, collection: root + "/" + mapping.Resource.Resource, name: meta.GetName()}, nil
}

// answer is a response's status and body.
type answer struct {
	status int
	kind   string
	body   []byte
}

func (e *encoder) send(method, path string, sent string, body []byte, accept string) answer {
	request := e.client.Verb(method).RequestURI(path).SetHeader("Accept", accept)
	if body != nil {
		request = request.SetHeader("Content-Type", sent).Body(body)
	}
	ctx, cancel := context.WithTimeout(e.h.ctx, 30*time.Second)
	defer cancel()
	var a answer
	result := request.Do(ctx)
	result.StatusCode(&a.status)
	result.ContentType(&a.kind)
	var err error
	a.body, err = result.Raw()
	var status interface{ Status() metav1.Status }
	if a.status == 0 && errors.As(err, &status) {
		a.status = int(status.Status().Code)
	}
	return a
}

func message(object runtime.Object) ([]byte, error) {
	var out bytes.Buffer
	err := asMessage.Encode(object, &out)
	return out.Bytes(), err
}

// accepted is for our own objects: each must be created.
func (e *encoder) accepted(file, document string) error {
	text, err := yaml.YAMLToJSON([]byte(e.vars.Replace(document)))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	s, err := e.subject(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fits, err := e.written(s)
	if err != nil {
		return fmt.Errorf("%s %s: %w", file, s.gvk.Kind, err)
	}
	if !fits {
		return fmt.Errorf("%s: %s %s is refused: %s", file, s.gvk, s.name, e.last)
	}
	return nil
}

// written compares what both encodings of a creation answer, and when it is accepted, everything else.
func (e *encoder) written(s *subject) (bool, error) {
	encoded, err := message(s.object)
	if err != nil {
		return false, err
	}
	dry := s.collection + "?dryRun=All&fieldManager=both"
	one := e.send("POST", dry, jsonType, s.text, jsonType)
	two := e.send("POST", dry, protoType, encoded, jsonType)
	three := e.send("POST", dry, protoType, encoded, protoType)
	label := s.gvk.Kind + " " + s.name
	e.chance = chance
	if meta, err := apimeta.Accessor(s.object); err == nil && meta.GetGenerateName() != "" {
		// names are made up for each request
		e.chance = regexp.MustCompile(chance.String() + "|" + regexp.QuoteMeta(meta.GetGenerateName()) + "[a-z0-9]{5}")
		label += meta.GetGenerateName()
	}
	if one.status != two.status || two.status != three.status {
		e.differ("%s: written as JSON %d %s, as protobuf %d %s, %d %s", label, one.status, one.body, two.status, two.body, three.status, three.body)
		return false, nil
	}
	if a, b := e.scrubbed(one.body), e.scrubbed(two.body); !reflect.DeepEqual(a, b) {
		e.differ("%s: written as JSON and as protobuf:\n%s", label, difference(a, b))
	}
	if one.status >= 300 {
		e.refused++
		e.last = one.body
		e.both(label+" refused", one.body, three.body, true)
		return false, nil
	}
	e.both(label+" dry", two.body, three.body, true)
	return true, e.stored(s, label, encoded)
}

func (e *encoder) stored(s *subject, label string, encoded []byte) error {
	made := e.send("POST", s.collection+"?fieldManager=both", protoType, encoded, protoType)
	object, _, err := codecs.UniversalDeserializer().Decode(made.body, nil, nil)
	if err != nil || made.status != 201 {
		return fmt.Errorf("create: %d %q: %w", made.status, made.body, err)
	}
	meta, err := apimeta.Accessor(object)
	if err != nil {
		// a review or a binding: nothing is stored
		return nil
	}
	if meta.GetUID() == "" {
		return nil
	}
	e.compared++
	path := s.collection + "/" + meta.GetName()
	e.read(label, path)
	e.read(label+" list", s.collection)
	partial := ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	e.readAs(label+" metadata", path, partial)
	e.readAs(label+" list of metadata", s.collection, ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	if err := e.watched(label, s.collection, meta, ""); err != nil {
		return err
	}
	if err := e.watched(label+" metadata", s.collection, meta, partial); err != nil {
		return err
	}
	e.updated(s, label, path)
	for _, sub := range []string{"/status", "/scale"} {
		if got := e.send("GET", path+sub, "", nil, jsonType); got.status == 200 {
			e.read(label+sub, path+sub)
		}
	}
	return e.deleted(s, label, path, meta)
}

// read gets something in both encodings.
func (e *encoder) read(label, path string) { e.readAs(label, path, "") }

func (e *encoder) readAs(label, path, as string) {
	for range 3 {
		one, two := e.send("GET", path, "", nil, jsonType+as), e.send("GET", path, "", nil, protoType+as)
		again := e.send("GET", path, "", nil, jsonType+as)
		if !bytes.Equal(one.body, again.body) {
			// a controller was at it
			continue
		}
		if one.status != 200 || two.status != 200 || !strings.HasPrefix(two.kind, protoType) {
			e.differ("%s: GET %s: %d and %d, %q", label, path, one.status, two.status, two.kind)
			return
		}
		e.both(label, one.body, two.body, false)
		return
	}
}

// both compares an answer in JSON with the same in protobuf: as objects, as text, and as bytes of a message.
func (e *encoder) both(label string, text, encoded []byte, other bool) {
	one, _, err := asJSON.Decode(text, nil, nil)
	if err != nil {
		e.differ("%s: JSON is not understood: %v: %s", label, err, text)
		return
	}
	two, _, err := codecs.UniversalDeserializer().Decode(encoded, nil, nil)
	if err != nil {
		e.differ("%s: protobuf is not understood: %v: %q", label, err, encoded)
		return
	}
	var first, second bytes.Buffer
	if err := asJSON.Encode(one, &first); err != nil {
		e.differ("%s: %v", label, err)
	}
	if err := asJSON.Encode(two, &second); err != nil {
		e.differ("%s: %v", label, err)
	}
	if other {
		// of two requests
		if a, b := e.scrubbed(first.Bytes()), e.scrubbed(second.Bytes()); !reflect.DeepEqual(a, b) {
			e.differ("%s: JSON and protobuf:\n%s", label, difference(a, b))
		}
		return
	}
	if a, b := plain(text), plain(first.Bytes()); !reflect.DeepEqual(a, b) {
		e.differ("%s: JSON is not what client-go writes:\n%s", label, difference(a, b))
	}
	if a, b := untyped(plain(first.Bytes())), untyped(plain(second.Bytes())); !reflect.DeepEqual(a, b) {
		e.differ("%s: JSON and protobuf:\n%s", label, difference(a, b))
	}
	if wanted, err := message(one); err != nil || !bytes.Equal(wanted, encoded) {
		e.differ("%s: other bytes (%v), %d, not %d", label, err, len(encoded), len(wanted))
	}
}

// watched compares the first frames of a watch.
func (e *encoder) watched(label, collection string, meta metav1.Object, as string) error {
	options := "?watch=true&resourceVersion=0&timeoutSeconds=20"
	var a, b any
	// a controller may write between the two
	for range 3 {
		one, err := e.frame(collection+options, jsonType+as, meta.GetName())
		if err != nil {
			return fmt.Errorf("%s: watch in JSON: %w", label, err)
		}
		two, err := e.frame(collection+options, protoType+as, meta.GetName())
		if err != nil {
			return fmt.Errorf("%s: watch in protobuf: %w", label, err)
		}
		if a, b = untyped(one), untyped(two); reflect.DeepEqual(a, b) {
			return nil
		}
	}
	e.differ("%s: watch:\n%s", label, difference(a, b))
	return nil
}

// frame is the object of the name in a watch, as client-go reads it, as data.
func (e *encoder) frame(path, accept, name string) (any, error) {
	ctx, cancel := context.WithTimeout(e.h.ctx, 20*time.Second)
	defer cancel()
	watcher, err := e.client.Get().RequestURI(path).SetHeader("Accept", accept+";stream=watch,"+accept).Watch(ctx)
	if err != nil {
		return nil, err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		meta, err := apimeta.Accessor(event.Object)
		if err != nil {
			return nil, fmt.Errorf("%s %+v", event.Type, event.Object)
		}
		if meta.GetName() == name {
			var text bytes.Buffer
			if err := asJSON.Encode(event.Object, &text); err != nil {
				return nil, err
			}
			return map[string]any{"type": string(event.Type), "object": plain(text.Bytes())}, nil
		}
	}
	return nil, fmt.Errorf("it did not come")
}

// large compares lists that are compressed and cut, and selected ones.
func (e *encoder) large() error {
	maps := e.h.fast.CoreV1().ConfigMaps(e.h.ns)
	for n := range 150 {
		object := configMap(fmt.Sprintf("large-%03d", n), strings.Repeat(fmt.Sprintf("%d é ", n), 500))
		object.Labels = map[string]string{"large": "yes", "third": fmt.Sprint(n % 3)}
		if _, err := maps.Create(e.h.ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	collection := "/api/v1/namespaces/" + e.h.ns + "/configmaps"
	for _, query := range []string{"", "?limit=70", "?resourceVersion=0", "?labelSelector=third%3D1", "?fieldSelector=metadata.name%3Dlarge-007", "?labelSelector=none"} {
		e.read("a large list "+query, collection+query)
		e.readAs("a large list of metadata "+query, collection+query, ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	}
	first, err := maps.List(e.h.ctx, metav1.ListOptions{Limit: 70})
	if err != nil {
		return err
	}
	e.read("the next page", collection+"?limit=70&continue="+first.Continue)
	if err := maps.DeleteCollection(e.h.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "large=yes"}); err != nil {
		return err
	}
	if e.differences == 0 {
		fact("large lists, pages and selections too")
	}
	return nil
}

// updated writes the object back in protobuf with one label more.
func (e *encoder) updated(s *subject, label, path string) {
	for range 5 {
		before := e.send("GET", path, "", nil, protoType)
		object, _, err := codecs.UniversalDeserializer().Decode(before.body, nil, nil)
		if err != nil {
			e.differ("%s: %v", label, err)
			return
		}
		meta, _ := apimeta.Accessor(object)
		labels := meta.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels["updated"] = "yes"
		meta.SetLabels(labels)
		wanted, _ := json.Marshal(object)
		encoded, err := message(object)
		if err != nil {
			e.differ("%s: %v", label, err)
			return
		}
		after := e.send("PUT", path+"?fieldManager=both", protoType, encoded, jsonType)
		if after.status == 409 {
			continue
		}
		if after.status != 200 {
			e.differ("%s: PUT: %d %s", label, after.status, after.body)
			return
		}
		a, b := e.scrubbed(wanted), e.scrubbed(after.body)
		for _, tree := range []any{a, b} {
			if meta, ok := tree.(map[string]any)["metadata"].(map[string]any); ok {
				delete(meta, "generation")
				delete(meta, "managedFields")
			}
		}
		if !reflect.DeepEqual(untyped(a), untyped(b)) {
			e.differ("%s: updated:\n%s", label, difference(a, b))
		}
		return
	}
}

// deleted gives up finalizers and deletes with options in protobuf.
func (e *encoder) deleted(s *subject, label, path string, meta metav1.Object) error {
	uid := meta.GetUID()
	policy, grace := metav1.DeletePropagationBackground, int64(0)
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &policy, GracePeriodSeconds: &grace}
	options.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"})
	encoded, err := message(options)
	if err != nil {
		return err
	}
	gone := e.send("DELETE", path, protoType, encoded, protoType)
	if gone.status != 200 {
		return fmt.Errorf("%s: DELETE: %d %q", label, gone.status, gone.body)
	}
	if _, _, err := codecs.UniversalDeserializer().Decode(gone.body, nil, nil); err != nil {
		e.differ("%s: what DELETE says is not understood: %v", label, err)
	}
	e.send("PATCH", path, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), jsonType)
	return nil
}

// typed says of itself what it is, as encoders need it.
func typed(object runtime.Object) runtime.Object {
	if kinds, _, err := known.ObjectKinds(object); err == nil {
		object.GetObjectKind().SetGroupVersionKind(kinds[0])
	}
	return object
}

// recorded compares the bodies that cases create.
func (e *encoder) recorded(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	repeated := regexp.MustCompile(`<([^<>]*)\*(\d+)>`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var steps struct {
			Steps []struct {
				Do   string
				Body any
			}
		}
		if err := yaml.Unmarshal([]byte(e.vars.Replace(string(text))), &steps); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, step := range steps.Steps {
			body, is := step.Body.(map[string]any)
			if !is || !strings.HasPrefix(step.Do, "POST ") {
				continue
			}
			text, err := json.Marshal(body)
			if err != nil || repeated.Match(text) {
				continue
			}
			s, err := e.subject(text)
			if err != nil {
				// another kind, or fields that client-go does not know
				continue
			}
			if _, err := e.written(s); err != nil {
				e.differ("%s: %v", filepath.Base(file), err)
			}
		}
	}
	return nil
}
