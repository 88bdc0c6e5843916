// Writes as controllers do them: retried conflicts lose nothing, patches of three types, subresources, preconditions,
// deletion with finalizers and of collections, and the errors that client-go tells apart.
package main

import (
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
)

func writes(h *harness) error {
	for _, step := range []func(*harness) error{conflicts, patches, subresources, deletions, refusals} {
		if err := step(h); err != nil {
			return err
		}
	}
	return nil
}

// conflicts counts up from many sides.
func conflicts(h *harness) error {
	const writers, each = 5, 8
	maps := h.fast.CoreV1().ConfigMaps(h.ns)
	if _, err := maps.Create(h.ctx, configMap("counter", ""), metav1.CreateOptions{}); err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make(chan error, writers*each)
	backoff := retry.DefaultBackoff
	backoff.Steps = 50
	for range writers {
		group.Go(func() {
			for range each {
				errs <- retry.RetryOnConflict(backoff, func() error {
					now, err := maps.Get(h.ctx, "counter", metav1.GetOptions{})
					if err != nil {
						return err
					}
					now.Data["value"] += "x"
					_, err = maps.Update(h.ctx, now, metav1.UpdateOptions{})
					return err
				})
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	now, err := maps.Get(h.ctx, "counter", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if count := len(now.Data["value"]); count != writers*each {
		return fmt.Errorf("%d increments are %d", writers*each, count)
	}
	fact("retried conflicts lose no update")
	return nil
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			// nobody makes pods of it here
			Replicas: ptr.To(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app:1"}}},
			},
		},
	}
}

func patches(h *harness) error {
	deployments := h.fast.AppsV1().Deployments(h.ns)
	made, err := deployments.Create(h.ctx, deployment("patched"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if made.Generation != 1 || made.Spec.Strategy.RollingUpdate.MaxSurge.StrVal != "25%" {
		return fmt.Errorf("defaults are missing: %+v", made)
	}
	strategic := `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"example.com/side:1"}]}}}}`
	made, err = deployments.Patch(h.ctx, "patched", types.StrategicMergePatchType, []byte(strategic), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if containers := made.Spec.Template.Spec.Containers; len(containers) != 2 || containers[0].Name != "side" || made.Generation != 2 {
		return fmt.Errorf("strategic merge patch: %+v", containers)
	}
	merge := `{"metadata":{"annotations":{"a":"b"}},"spec":{"template":{"spec":{"containers":[{"name":"only","image":"example.com/only:1"}]}}}}`
	made, err = deployments.Patch(h.ctx, "patched", types.MergePatchType, []byte(merge), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if containers := made.Spec.Template.Spec.Containers; len(containers) != 1 || containers[0].Name != "only" {
		return fmt.Errorf("merge patch: %+v", containers)
	}
	json := `[{"op":"test","path":"/metadata/annotations/a","value":"b"},{"op":"remove","path":"/metadata/annotations/a"},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"example.com/only:2"}]`
	made, err = deployments.Patch(h.ctx, "patched", types.JSONPatchType, []byte(json), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if made.Annotations["a"] != "" || made.Spec.Template.Spec.Containers[0].Image != "example.com/only:2" {
		return fmt.Errorf("JSON patch: %+v", made)
	}
	dry, err := deployments.Patch(h.ctx, "patched", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{DryRun: []string{"All"}})
	if err != nil {
		return err
	}
	now, err := deployments.Get(h.ctx, "patched", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if *dry.Spec.Replicas != 7 || now.ResourceVersion != made.ResourceVersion {
		return fmt.Errorf("a dry run said %d and left %s, not %s", *dry.Spec.Replicas, now.ResourceVersion, made.ResourceVersion)
	}
	fact("strategic merge, merge and JSON patches, also as a dry run")
	return nil
}

func subresources(h *harness) error {
	deployments := h.fast.AppsV1().Deployments(h.ns)
	made, err := deployments.Create(h.ctx, deployment("scaled"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	scale, err := deployments.GetScale(h.ctx, "scaled", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if scale.Spec.Replicas != 0 || scale.Status.Selector != "app=scaled" || scale.UID != made.UID {
		return fmt.Errorf("the scale is %+v", scale)
	}
	scaled, err := deployments.UpdateScale(h.ctx, "scaled", &autoscalingv1.Scale{ObjectMeta: scale.ObjectMeta, Spec: autoscalingv1.ScaleSpec{Replicas: 3}}, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	if scaled.Spec.Replicas != 3 {
		return fmt.Errorf("the new scale is %+v", scaled)
	}
	if made, err = deployments.Get(h.ctx, "scaled", metav1.GetOptions{}); err != nil {
		return err
	}
	pods := h.fast.CoreV1().Pods(h.ns)
	pod, err := pods.Create(h.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pending", Labels: map[string]string{"app": "pending"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: "example.com/app:1", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("1Gi")},
			}}},
			NodeSelector: map[string]string{"nowhere": "true"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if pod.Status.QOSClass != corev1.PodQOSBurstable || pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() != 1500 {
		return fmt.Errorf("the pod is %+v", pod)
	}
	// the scheduler's condition may come between
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := pods.Get(h.ctx, "pending", metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Status.Conditions = append(now.Status.Conditions, corev1.PodCondition{Type: "example.com/ready", Status: "True"})
		now.Spec.ActiveDeadlineSeconds = ptr.To(int64(5))
		pod, err = pods.UpdateStatus(h.ctx, now, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	if pod.Spec.ActiveDeadlineSeconds != nil || !hasCondition(pod, "example.com/ready") {
		return fmt.Errorf("the status update gave %+v", pod)
	}
	token, err := h.fast.CoreV1().ServiceAccounts(h.ns).CreateToken(h.ctx, "default", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(600))},
	}, metav1.CreateOptions{})
	if err != nil || token.Status.Token == "" {
		return fmt.Errorf("no token: %v", err)
	}
	review, err := h.fast.AuthenticationV1().TokenReviews().Create(h.ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token},
	}, metav1.CreateOptions{})
	if err != nil || review.Status.User.Username != "system:serviceaccount:"+h.ns+":default" {
		return fmt.Errorf("the review says %+v: %v", review.Status, err)
	}
	err = pods.EvictV1(h.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "pending", Namespace: h.ns}})
	if err != nil {
		return fmt.Errorf("eviction: %w", err)
	}
	err = eventually("the pod is gone", func() error {
		if _, err := pods.Get(h.ctx, "pending", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("get says %v", err)
		}
		return nil
	})
	if err == nil {
		fact("scale, status, token, token review and eviction in protobuf")
	}
	return err
}

func hasCondition(pod *corev1.Pod, wanted corev1.PodConditionType) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == wanted {
			return true
		}
	}
	return false
}

func deletions(h *harness) error {
	maps := h.fast.CoreV1().ConfigMaps(h.ns)
	held := configMap("held", "")
	held.Finalizers = []string{"example.com/hold"}
	held.Labels = map[string]string{"set": "one"}
	made, err := maps.Create(h.ctx, held, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	wrong := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("not-this"))}}
	if err := maps.Delete(h.ctx, "held", wrong); !apierrors.IsConflict(err) {
		return fmt.Errorf("a wrong precondition said %v", err)
	}
	right := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(made.UID)), PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	if err := maps.Delete(h.ctx, "held", right); err != nil {
		return err
	}
	now, err := maps.Get(h.ctx, "held", metav1.GetOptions{})
	if err != nil || now.DeletionTimestamp == nil {
		return fmt.Errorf("it is not held: %+v, %v", now, err)
	}
	now.Finalizers = nil
	if _, err := maps.Update(h.ctx, now, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err := maps.Get(h.ctx, "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("after its last finalizer: %v", err)
	}
	for n := range 10 {
		some := configMap(fmt.Sprintf("some-%d", n), "")
		some.Labels = map[string]string{"half": fmt.Sprint(n % 2)}
		if _, err := maps.Create(h.ctx, some, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := maps.DeleteCollection(h.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "half=1"}); err != nil {
		return err
	}
	left, err := maps.List(h.ctx, metav1.ListOptions{LabelSelector: "half"})
	if err != nil || len(left.Items) != 5 {
		return fmt.Errorf("%d are left: %v", len(left.Items), err)
	}
	fact("preconditions, finalizers and collections")
	return nil
}

func refusals(h *harness) error {
	maps := h.fast.CoreV1().ConfigMaps(h.ns)
	made, err := maps.Create(h.ctx, configMap("twice", ""), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	stale := made.DeepCopy()
	made.Data["value"] = "new"
	if _, err = maps.Update(h.ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	_, exists := maps.Create(h.ctx, configMap("twice", ""), metav1.CreateOptions{})
	_, conflict := maps.Update(h.ctx, stale, metav1.UpdateOptions{})
	_, missing := maps.Get(h.ctx, "missing", metav1.GetOptions{})
	_, invalid := maps.Create(h.ctx, configMap("No Name", ""), metav1.CreateOptions{})
	_, bad := maps.Patch(h.ctx, "twice", types.JSONPatchType, []byte(`{`), metav1.PatchOptions{})
	_, gone := maps.List(h.ctx, metav1.ListOptions{Continue: "forged"})
	for what, holds := range map[string]bool{
		"already exists": apierrors.IsAlreadyExists(exists), "conflict": apierrors.IsConflict(conflict), "not found": apierrors.IsNotFound(missing),
		"invalid": apierrors.IsInvalid(invalid), "bad request": apierrors.IsBadRequest(bad), "forged token": apierrors.IsBadRequest(gone),
	} {
		if !holds {
			return fmt.Errorf("%s is not told: %v; %v; %v; %v; %v; %v", what, exists, conflict, missing, invalid, bad, gone)
		}
	}
	wanted := `Operation cannot be fulfilled on configmaps "twice": the object has been modified; please apply your changes to the latest version and try again`
	if conflict.Error() != wanted {
		return fmt.Errorf("a conflict says %q", conflict)
	}
	fact("client-go tells the errors apart")
	return nil
}
