// Leader election on a Lease: one leader at a time; who releases hands over at once, who dies is replaced when its lease
// has run out, and a leader outlives the server's restart.
package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// crowd is the candidates of one election.
type crowd struct {
	h       *harness
	lease   string
	length  time.Duration
	mu      sync.Mutex
	leaders map[string]bool
	history []string
	broken  atomic.Value
}

// join starts a candidate; its end is what the returned function makes.
func (c *crowd) join(id string, release bool) (func(), error) {
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(c.h.config, id))
	if err != nil {
		return nil, err
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, c.h.ns, c.lease, client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: id})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.h.ctx)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: c.length, RenewDeadline: c.length * 2 / 3, RetryPeriod: c.length / 8, ReleaseOnCancel: release, Name: c.lease,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { c.started(id) },
			OnStoppedLeading: func() { c.ended(id) },
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	go elector.Run(ctx)
	return cancel, nil
}

func (c *crowd) started(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaders[id] = true
	c.history = append(c.history, id)
	if len(c.leaders) > 1 {
		c.broken.Store(fmt.Errorf("two leaders at once: %v", c.leaders))
	}
}

func (c *crowd) ended(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leaders, id)
}

func (c *crowd) leads(id string) error {
	return eventually(id+" leads", func() error {
		if broken, ok := c.broken.Load().(error); ok {
			return broken
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.leaders) != 1 || !c.leaders[id] {
			return fmt.Errorf("leaders are %v, before %v", c.leaders, c.history)
		}
		return nil
	})
}

func leaderElection(h *harness) error {
	c := &crowd{h: h, lease: "leader", length: 4 * time.Second, leaders: map[string]bool{}}
	stopA, err := c.join("a", true)
	if err != nil {
		return err
	}
	if err := c.leads("a"); err != nil {
		return err
	}
	stopB, err := c.join("b", false)
	if err != nil {
		return err
	}
	begin := time.Now()
	stopA()
	if err := c.leads("b"); err != nil {
		return err
	}
	if took := time.Since(begin); took > c.length {
		return fmt.Errorf("a released lease was taken after %s", took)
	}
	fact("who releases is replaced at once")

	if _, err := c.join("c", true); err != nil {
		return err
	}
	begin = time.Now()
	stopB()
	if err := c.leads("c"); err != nil {
		return err
	}
	if took := time.Since(begin); took < c.length/2 {
		return fmt.Errorf("a lease that was not released was taken after %s", took)
	}
	fact("who dies is replaced when its lease has run out")

	// with client-go's usual times, across a restart
	c = &crowd{h: h, lease: "steady", length: 15 * time.Second, leaders: map[string]bool{}}
	stop, err := c.join("steady", true)
	if err != nil {
		return err
	}
	if err := c.leads("steady"); err != nil {
		return err
	}
	leases := h.fast.CoordinationV1().Leases(h.ns)
	before, err := leases.Get(h.ctx, "steady", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := h.restart(); err != nil {
		return err
	}
	err = eventually("the lease is renewed", func() error {
		now, err := leases.Get(h.ctx, "steady", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !now.Spec.RenewTime.After(before.Spec.RenewTime.Time) || *now.Spec.LeaseTransitions != *before.Spec.LeaseTransitions {
			return fmt.Errorf("it is %+v", now.Spec)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.leads("steady"); err != nil {
		return err
	}
	stop()
	err = eventually("the lease is released", func() error {
		now, err := leases.Get(h.ctx, "steady", metav1.GetOptions{})
		if err == nil && *now.Spec.HolderIdentity != "" {
			err = fmt.Errorf("held by %q", *now.Spec.HolderIdentity)
		}
		return err
	})
	if err != nil {
		return err
	}
	fact("a leader outlives the server's restart, leading all the time")
	return nil
}
