// controller-runtime as operators use it: a manager with cache and leader election, and a reconciler that owns, applies,
// sets status, holds with a finalizer; over a restart of the server and a change of leaders.
package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "example.com/settle"

// reconciler gives each Service a ConfigMap that it owns, a Secret that it must take away itself, and a condition.
type reconciler struct {
	client.Client
	recorder events.EventRecorder
	runs     atomic.Int64
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	r.runs.Add(1)
	service := &corev1.Service{}
	if err := r.Get(ctx, request.NamespacedName, service); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if service.Labels["reconciled"] != "yes" {
		return ctrl.Result{}, nil
	}
	if !service.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.settle(ctx, service)
	}
	if controllerutil.AddFinalizer(service, finalizer) {
		return ctrl.Result{}, r.Update(ctx, service)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: service.Name + "-config", Namespace: service.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, owned, func() error {
		owned.Data = map[string]string{"wanted": service.Annotations["wanted"]}
		return controllerutil.SetControllerReference(service, owned, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	secret := coreac.Secret(service.Name+"-secret", service.Namespace).WithStringData(map[string]string{"wanted": service.Annotations["wanted"]})
	if err := r.Apply(ctx, secret, client.FieldOwner("reconciler"), client.ForceOwnership); err != nil {
		return ctrl.Result{}, err
	}
	before := service.DeepCopy()
	condition := metav1.Condition{Type: "example.com/Settled", Status: "True", Reason: "Made", ObservedGeneration: service.Generation}
	if apimeta.SetStatusCondition(&service.Status.Conditions, condition) {
		r.recorder.Eventf(service, owned, corev1.EventTypeNormal, "Settled", "Settling", "made %s", owned.Name)
		return ctrl.Result{}, r.Status().Patch(ctx, service, client.MergeFrom(before))
	}
	return ctrl.Result{}, nil
}

func (r *reconciler) settle(ctx context.Context, service *corev1.Service) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: service.Name + "-secret", Namespace: service.Namespace}}
	if err := r.Delete(ctx, secret); client.IgnoreNotFound(err) != nil {
		return err
	}
	before := service.DeepCopy()
	if controllerutil.RemoveFinalizer(service, finalizer) {
		return r.Patch(ctx, service, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	return nil
}

// operator is a running manager.
type operator struct {
	reconciler *reconciler
	manager    ctrl.Manager
	stop       func()
	ended      chan error
}

func (h *harness) operator() (*operator, error) {
	manager, err := ctrl.NewManager(h.config, ctrl.Options{
		Cache:          cache.Options{DefaultNamespaces: map[string]cache.Config{h.ns: {}}},
		Metrics:        server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "operator", LeaderElectionNamespace: h.ns, LeaderElectionReleaseOnCancel: true,
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		return nil, err
	}
	r := &reconciler{Client: manager.GetClient(), recorder: manager.GetEventRecorder("operator")}
	err = manager.GetFieldIndexer().IndexField(h.ctx, &corev1.ConfigMap{}, "wanted", func(object client.Object) []string {
		return []string{object.(*corev1.ConfigMap).Data["wanted"]}
	})
	if err != nil {
		return nil, err
	}
	err = ctrl.NewControllerManagedBy(manager).For(&corev1.Service{}).Owns(&corev1.ConfigMap{}).Complete(r)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(h.ctx)
	o := &operator{reconciler: r, manager: manager, stop: stop, ended: make(chan error, 1)}
	go func() { o.ended <- manager.Start(ctx) }()
	return o, nil
}

// settled waits until so many Services have everything, with this value.
func (h *harness) settled(o *operator, count int, wanted string) error {
	return eventually(fmt.Sprintf("%d services are settled with %q", count, wanted), func() error {
		select {
		case err := <-o.ended:
			o.ended <- err
			return fmt.Errorf("the manager ended: %w", err)
		default:
		}
		services, err := h.fast.CoreV1().Services(h.ns).List(h.ctx, metav1.ListOptions{LabelSelector: "reconciled=yes"})
		if err != nil {
			return err
		}
		if len(services.Items) != count {
			return fmt.Errorf("there are %d", len(services.Items))
		}
		for _, service := range services.Items {
			if !apimeta.IsStatusConditionTrue(service.Status.Conditions, "example.com/Settled") || !controllerutil.ContainsFinalizer(&service, finalizer) {
				return fmt.Errorf("%s: %+v", service.Name, service.Status)
			}
			owned, err := h.fast.CoreV1().ConfigMaps(h.ns).Get(h.ctx, service.Name+"-config", metav1.GetOptions{})
			if err != nil {
				return err
			}
			secret, err := h.fast.CoreV1().Secrets(h.ns).Get(h.ctx, service.Name+"-secret", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if owned.Data["wanted"] != wanted || string(secret.Data["wanted"]) != wanted || !metav1.IsControlledBy(owned, &service) {
				return fmt.Errorf("%s: %v, %v, %+v", service.Name, owned.Data, secret.Data, owned.OwnerReferences)
			}
		}
		return nil
	})
}

func (h *harness) want(count int, value string) error {
	for n := range count {
		patch := []byte(fmt.Sprintf(`{"metadata":{"annotations":{"wanted":%q}}}`, value))
		if _, err := h.fast.CoreV1().Services(h.ns).Patch(h.ctx, fmt.Sprintf("service-%d", n), "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func controllerRuntime(h *harness) error {
	ctrl.SetLogger(logr.Discard())
	const count = 8
	first, err := h.operator()
	if err != nil {
		return err
	}
	for n := range count {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("service-%d", n), Labels: map[string]string{"reconciled": "yes"}, Annotations: map[string]string{"wanted": "a"}},
			Spec:       corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80}}},
		}
		if _, err := h.fast.CoreV1().Services(h.ns).Create(h.ctx, service, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := h.settled(first, count, "a"); err != nil {
		return err
	}
	fact("a manager leads, and its reconciler makes what it owns, applies and reports")

	if err := h.want(count, "b"); err != nil {
		return err
	}
	if err := h.fast.CoreV1().ConfigMaps(h.ns).Delete(h.ctx, "service-0-config", metav1.DeleteOptions{}); client.IgnoreNotFound(err) != nil {
		return err
	}
	if err := h.settled(first, count, "b"); err != nil {
		return err
	}
	var indexed corev1.ConfigMapList
	err = eventually("the index has all", func() error {
		err := first.manager.GetClient().List(h.ctx, &indexed, client.InNamespace(h.ns), client.MatchingFields{"wanted": "b"})
		if err == nil && len(indexed.Items) != count {
			err = fmt.Errorf("there are %d", len(indexed.Items))
		}
		return err
	})
	if err != nil {
		return err
	}
	fact("changes and what was taken away are reconciled, the cache is indexed")

	if err := h.restart(); err != nil {
		return err
	}
	if err := h.want(count, "c"); err != nil {
		return err
	}
	if err := h.settled(first, count, "c"); err != nil {
		return err
	}
	fact("the manager outlives the server's restart")

	second, err := h.operator()
	if err != nil {
		return err
	}
	if synced := second.manager.GetCache().WaitForCacheSync(h.ctx); !synced || second.reconciler.runs.Load() != 0 {
		return fmt.Errorf("the second manager reconciled %d times beside the first", second.reconciler.runs.Load())
	}
	first.stop()
	select {
	case <-second.manager.Elected():
	case <-time.After(soon):
		return fmt.Errorf("the second manager was not elected")
	}
	if err := h.want(count, "d"); err != nil {
		return err
	}
	if err := h.settled(second, count, "d"); err != nil {
		return err
	}
	fact("a second manager takes over when the first is stopped")
	return h.unsettled(count)
}

// unsettled deletes all Services: finalizers are settled, and what they own is collected.
func (h *harness) unsettled(count int) error {
	for n := range count {
		if err := h.fast.CoreV1().Services(h.ns).Delete(h.ctx, fmt.Sprintf("service-%d", n), metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	err := eventually("nothing is left", func() error {
		for n := range count {
			name := fmt.Sprintf("service-%d", n)
			_, service := h.fast.CoreV1().Services(h.ns).Get(h.ctx, name, metav1.GetOptions{})
			_, owned := h.fast.CoreV1().ConfigMaps(h.ns).Get(h.ctx, name+"-config", metav1.GetOptions{})
			_, secret := h.fast.CoreV1().Secrets(h.ns).Get(h.ctx, name+"-secret", metav1.GetOptions{})
			for _, err := range []error{service, owned, secret} {
				if !apierrors.IsNotFound(err) {
					return fmt.Errorf("%s: %v, %v, %v", name, service, owned, secret)
				}
			}
		}
		return nil
	})
	if err == nil {
		fact("finalizers are settled, and what was owned is collected")
	}
	return err
}
