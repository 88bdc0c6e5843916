// In a pod, with nothing configured: lists the pods of its namespace, waits for an informer's first sight of them, and is
// refused secrets.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func inCluster() error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	name, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return err
	}
	namespace := string(name)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		fmt.Printf("pod %s %s\n", pod.Name, pod.Status.Phase)
	}

	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	lister := factory.Core().V1().Pods().Lister()
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the informer of %s did not sync", kind)
		}
	}
	seen, err := lister.List(labels.Everything())
	if err != nil {
		return err
	}
	fmt.Printf("informer %d\n", len(seen))

	_, err = client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Errorf("secrets were not refused: %v", err)
	}
	fmt.Printf("%d: %s\n", status.Status().Code, status.Status().Message)
	return nil
}
