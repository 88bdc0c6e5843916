// What every scenario stands on: a client with default settings, a namespace, waiting, and the server's restart, which the
// test performs when it reads the line RESTART and confirms with a line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const soon = 40 * time.Second

type harness struct {
	ctx    context.Context
	cancel context.CancelFunc
	// Default settings, nothing changed.
	config *rest.Config
	client *kubernetes.Clientset
	// The same without the client's own limit on requests, for what only prepares.
	fast *kubernetes.Clientset
	ns   string
	in   *bufio.Reader
}

func newHarness(name string) (*harness, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	unlimited := rest.CopyConfig(config)
	unlimited.QPS = -1
	fast, err := kubernetes.NewForConfig(unlimited)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	h := &harness{ctx: ctx, cancel: cancel, config: config, client: client, fast: fast, in: bufio.NewReader(os.Stdin)}
	h.ns, err = h.namespace(name)
	return h, err
}

// namespace makes one and waits for what controllers put into it.
func (h *harness) namespace(name string) (string, error) {
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}}
	made, err := h.fast.CoreV1().Namespaces().Create(h.ctx, object, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return made.Name, eventually("the namespace is furnished", func() error {
		if _, err := h.fast.CoreV1().ServiceAccounts(made.Name).Get(h.ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := h.fast.CoreV1().ConfigMaps(made.Name).Get(h.ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
}

// restart has the server killed and started again on the same data; it returns when the server answers again.
func (h *harness) restart() error {
	fmt.Println("RESTART")
	_, err := h.in.ReadString('\n')
	return err
}

func fact(format string, args ...any) {
	fmt.Printf("fact: "+format+"\n", args...)
}

func eventually(what string, attempt func() error) error {
	end := time.Now().Add(soon)
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %s: %w", soon, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// call is a request and what kind of answer it got.
type call struct {
	method, path, query, sent, got string
	status                         int
}

// wire notes the requests of a client.
type wire struct {
	mu    sync.Mutex
	calls []call
}

// of returns a copy of the configuration whose requests are noted.
func (w *wire) of(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &noting{next: next, wire: w} })
	return config
}

func (w *wire) noted(wanted func(call) bool) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []call
	for _, c := range w.calls {
		if wanted(c) {
			found = append(found, c)
		}
	}
	return found
}

type noting struct {
	next http.RoundTripper
	wire *wire
}

func (n *noting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(request)
	noted := call{method: request.Method, path: request.URL.Path, query: request.URL.RawQuery, sent: request.Header.Get("Content-Type")}
	if err == nil {
		noted.got, noted.status = response.Header.Get("Content-Type"), response.StatusCode
	}
	n.wire.mu.Lock()
	defer n.wire.mu.Unlock()
	n.wire.calls = append(n.wire.calls, noted)
	return response, err
}

func isList(c call) bool {
	return c.method == "GET" && !strings.Contains(c.query, "watch=") && c.status == 200
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": value}}
}
