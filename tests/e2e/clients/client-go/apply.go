// Server-side apply with typed apply configurations: ownership, conflicts, force, giving up, extraction.
package main

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingac "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
)

func deploymentApply(name, namespace, image string) *appsac.DeploymentApplyConfiguration {
	labels := map[string]string{"app": name}
	return appsac.Deployment(name, namespace).WithLabels(labels).WithSpec(appsac.DeploymentSpec().
		WithSelector(metaac.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(coreac.PodTemplateSpec().WithLabels(labels).WithSpec(coreac.PodSpec().
			WithContainers(coreac.Container().WithName("main").WithImage(image).
				WithPorts(coreac.ContainerPort().WithContainerPort(80).WithProtocol("TCP")).
				WithEnv(coreac.EnvVar().WithName("A").WithValue("1"))))))
}

func applies(h *harness) error {
	deployments := h.fast.AppsV1().Deployments(h.ns)
	one, two := metav1.ApplyOptions{FieldManager: "one"}, metav1.ApplyOptions{FieldManager: "two"}
	made, err := deployments.Apply(h.ctx, deploymentApply("web", h.ns, "example.com/app:1").WithSpec(
		deploymentApply("web", h.ns, "example.com/app:1").Spec.WithReplicas(0)), one)
	if err != nil {
		return err
	}
	again, err := deployments.Apply(h.ctx, deploymentApply("web", h.ns, "example.com/app:1").WithSpec(
		deploymentApply("web", h.ns, "example.com/app:1").Spec.WithReplicas(0)), one)
	if err != nil {
		return err
	}
	if made.ResourceVersion != again.ResourceVersion {
		return fmt.Errorf("the same apply wrote again")
	}
	fact("an apply that changes nothing writes nothing")

	other := deploymentApply("web", h.ns, "example.com/app:2")
	_, err = deployments.Apply(h.ctx, other, two)
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.template.spec.containers[name="main"].image`) {
		return fmt.Errorf("the conflict is %v", err)
	}
	status := err.(apierrors.APIStatus).Status()
	if len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != metav1.CauseTypeFieldManagerConflict {
		return fmt.Errorf("its causes are %+v", status.Details.Causes)
	}
	forced, err := deployments.Apply(h.ctx, other, metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		return err
	}
	if forced.Spec.Template.Spec.Containers[0].Image != "example.com/app:2" || forced.Generation != 2 {
		return fmt.Errorf("force gave %+v", forced)
	}
	fact("a conflict names manager and field, and force takes the field over")

	owned, err := appsac.ExtractDeployment(forced, "two")
	if err != nil {
		return err
	}
	if owned.Spec.Replicas != nil || *owned.Spec.Template.Spec.Containers[0].Image != "example.com/app:2" {
		return fmt.Errorf("two owns %+v", owned.Spec)
	}
	owned.Spec.Template.Spec.Containers[0].WithEnv(coreac.EnvVar().WithName("B").WithValue("2"))
	more, err := deployments.Apply(h.ctx, owned, two)
	if err != nil {
		return err
	}
	if env := more.Spec.Template.Spec.Containers[0].Env; len(env) != 2 {
		return fmt.Errorf("the environment is %+v", env)
	}
	less, err := deployments.Apply(h.ctx, deploymentApply("web", h.ns, "example.com/app:2"), two)
	if err != nil {
		return err
	}
	if env := less.Spec.Template.Spec.Containers[0].Env; len(env) != 1 || env[0].Name != "A" {
		return fmt.Errorf("what is given up stays: %+v", env)
	}
	fact("extract, change, apply; what is no longer applied is removed")

	scaled, err := deployments.ApplyScale(h.ctx, "web", autoscalingac.Scale().WithSpec(autoscalingac.ScaleSpec().WithReplicas(2)),
		metav1.ApplyOptions{FieldManager: "scaler", Force: true})
	if err != nil {
		return fmt.Errorf("apply to scale: %w", err)
	}
	if scaled.Spec.Replicas != 2 {
		return fmt.Errorf("the scale is %+v", scaled)
	}
	stated, err := deployments.ApplyStatus(h.ctx, appsac.Deployment("web", h.ns).WithStatus(appsac.DeploymentStatus().WithReplicas(1)),
		metav1.ApplyOptions{FieldManager: "controller", Force: true})
	if err != nil {
		return err
	}
	managed := map[string]string{}
	for _, entry := range stated.ManagedFields {
		managed[entry.Manager+" "+string(entry.Operation)] = entry.Subresource
	}
	if managed["scaler Apply"] != "scale" || managed["controller Apply"] != "status" || stated.Spec.Replicas == nil || *stated.Spec.Replicas != 2 {
		return fmt.Errorf("managers are %v, status %+v", managed, stated.Status)
	}
	fact("apply to scale and status")
	return nil
}
