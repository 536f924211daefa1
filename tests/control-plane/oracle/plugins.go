package main

import (
	"context"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// profile is the part of the default profile that says no: its PreFilter and Filter plugins, in order.
type profile struct {
	registry  runtime.Registry
	names     []string
	arguments map[string]kruntime.Object
}

// newProfile reads the default profile.
func newProfile(ctx context.Context) (*profile, error) {
	config, err := latest.Default()
	if err != nil {
		return nil, err
	}
	if len(config.Profiles) != 1 {
		return nil, fmt.Errorf("%d default profiles", len(config.Profiles))
	}
	result := &profile{registry: plugins.NewInTreeRegistry(), arguments: make(map[string]kruntime.Object)}
	for _, of := range config.Profiles[0].PluginConfig {
		result.arguments[of.Name] = of.Args
	}
	for _, enabled := range config.Profiles[0].Plugins.MultiPoint.Enabled {
		// It needs device classes and claims, which the autoscaler does not model.
		if enabled.Name != names.DynamicResources {
			result.names = append(result.names, enabled.Name)
		}
	}
	// Those that have no say are left out, which shows only when they are made.
	all, err := result.start(ctx, &objects{})
	if err != nil {
		return nil, err
	}
	result.names = nil
	for _, rule := range all.rules {
		if rule.filter != nil || rule.preFilter != nil {
			result.names = append(result.names, rule.name)
		}
	}
	return result, nil
}

// rule is one plugin.
type rule struct {
	name      string
	preFilter fwk.PreFilterPlugin
	filter    fwk.FilterPlugin
	reserve   fwk.ReservePlugin
}

// scheduler is the plugins at work on one cluster.
type scheduler struct {
	cluster *cluster
	rules   []rule
}

// start makes the plugins for a cluster. What they run in the background ends with the context.
func (p *profile) start(ctx context.Context, objects *objects) (*scheduler, error) {
	cluster, err := newCluster(objects)
	if err != nil {
		return nil, err
	}
	listers, err := newListers(objects)
	if err != nil {
		return nil, err
	}
	// Without a profile, a framework is only what plugins are given to look around.
	handle, err := runtime.NewFramework(ctx, p.registry, nil,
		runtime.WithSnapshotSharedLister(cluster),
		runtime.WithInformerFactory(listers),
		runtime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(listers.Storage().V1().CSINodes().Lister())),
		runtime.WithParallelism(1),
	)
	if err != nil {
		return nil, err
	}
	result := &scheduler{cluster: cluster}
	for _, name := range p.names {
		plugin, err := p.registry[name](ctx, p.arguments[name], handle)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", name, err)
		}
		rule := rule{name: name}
		rule.preFilter, _ = plugin.(fwk.PreFilterPlugin)
		rule.filter, _ = plugin.(fwk.FilterPlugin)
		rule.reserve, _ = plugin.(fwk.ReservePlugin)
		result.rules = append(result.rules, rule)
	}
	return result, nil
}

// refused is what the plugin said that said no; the empty value means that none did.
type refused struct {
	plugin  string
	message string
}

// attempt is the scheduling of one pod: what PreFilter found out.
type attempt struct {
	scheduler *scheduler
	pod       *v1.Pod
	state     fwk.CycleState
	rules     []ruleState
}

// ruleState is what PreFilter of one plugin said.
type ruleState struct {
	rule
	// skip: Filter has nothing to say.
	skip bool
	// refusal: no node at all.
	refusal *fwk.Status
	// nodes are all that may do; nil means that any may.
	nodes sets.Set[string]
	// failure: there is no answer, for which the scheduler would try again later.
	failure error
}

// begin runs PreFilter of all plugins.
//
// The scheduler stops at the first that says no, and reports that one for all nodes, also for those that an earlier
// plugin's Filter would have refused. Here each plugin has its say in its place, so that there is one reason for each
// node and it is the first in the order of plugins.
func (s *scheduler) begin(ctx context.Context, pod *v1.Pod) *attempt {
	result := &attempt{scheduler: s, pod: pod, state: framework.NewCycleState()}
	for _, rule := range s.rules {
		entry := ruleState{rule: rule, skip: rule.filter == nil}
		if rule.preFilter != nil {
			allowed, status := rule.preFilter.PreFilter(ctx, result.state, pod, s.cluster.list)
			switch {
			case status.IsSkip():
				entry.skip = true
			case status.IsRejected():
				entry.refusal = status
			case !status.IsSuccess():
				entry.failure = fmt.Errorf("PreFilter of %s for %s: %w", rule.name, podName(pod), status.AsError())
			case !allowed.AllNodes():
				entry.nodes = allowed.NodeNames
			}
		}
		result.rules = append(result.rules, entry)
	}
	return result
}

// judge says which plugin refuses the node. A node on which preemption keeps room for pods of the same or a higher
// priority must do with these pods and without them.
func (a *attempt) judge(ctx context.Context, node *framework.NodeInfo) (refused, error) {
	priority := func(pod *v1.Pod) int32 {
		if pod.Spec.Priority == nil {
			return 0
		}
		return *pod.Spec.Priority
	}
	withNominees, state := node, a.state
	for _, nominee := range a.scheduler.cluster.nominated[node.Node().Name] {
		if priority(nominee.Pod) < priority(a.pod) || nominee.Pod.UID == a.pod.UID {
			continue
		}
		if withNominees == node {
			withNominees, state = node.SnapshotConcrete(), a.state.Clone()
		}
		withNominees.AddPodInfo(nominee)
		if err := a.tellOf(ctx, state, nominee, withNominees); err != nil {
			return refused{}, err
		}
	}
	if withNominees != node {
		if answer, err := a.filter(ctx, state, withNominees); err != nil || answer.plugin != "" {
			return answer, err
		}
	}
	return a.filter(ctx, a.state, node)
}

// tellOf adds a pod to what PreFilter found out.
func (a *attempt) tellOf(ctx context.Context, state fwk.CycleState, other fwk.PodInfo, node fwk.NodeInfo) error {
	for _, rule := range a.rules {
		if rule.preFilter == nil || rule.preFilter.PreFilterExtensions() == nil || rule.skip ||
			rule.refusal != nil || rule.failure != nil {
			continue
		}
		status := rule.preFilter.PreFilterExtensions().AddPod(ctx, state, a.pod, other, node)
		if !status.IsSuccess() {
			return fmt.Errorf("AddPod of %s for %s: %w", rule.name, podName(a.pod), status.AsError())
		}
	}
	return nil
}

// filter runs Filter of all plugins until one says no.
//
// NodeVolumeLimits looks the pod's claims up in Filter, VolumeBinding in PreFilter, which the scheduler runs first. So it
// is VolumeBinding that reports a claim that is missing or belongs to something else, and NodeVolumeLimits has no say.
func (a *attempt) filter(ctx context.Context, state fwk.CycleState, node *framework.NodeInfo) (refused, error) {
	var failure error
	for _, rule := range a.rules {
		if rule.refusal != nil {
			return refused{rule.name, rule.refusal.Message()}, nil
		}
		if rule.nodes != nil && !rule.nodes.Has(node.Node().Name) {
			return refused{rule.name, "the node is not among those that PreFilter allows"}, nil
		}
		if rule.failure != nil {
			failure = errors.Join(failure, rule.failure)
			continue
		}
		if rule.skip {
			continue
		}
		status := rule.filter.Filter(ctx, state, a.pod, node)
		if rule.name == names.NodeVolumeLimits && status.Code() == fwk.UnschedulableAndUnresolvable {
			failure = errors.Join(failure, status.AsError())
			continue
		}
		if status.IsRejected() {
			return refused{rule.name, status.Message()}, nil
		}
		if !status.IsSuccess() {
			failure = errors.Join(failure, fmt.Errorf("Filter of %s for %s on %s: %w",
				rule.name, podName(a.pod), node.Node().Name, status.AsError()))
		}
	}
	return refused{}, failure
}

// bind puts the pod on a node that was found to fit.
func (a *attempt) bind(ctx context.Context, node string) error {
	for _, rule := range a.scheduler.rules {
		if rule.reserve == nil {
			continue
		}
		if status := rule.reserve.Reserve(ctx, a.state, a.pod, node); !status.IsSuccess() {
			return fmt.Errorf("Reserve of %s for %s: %w", rule.name, podName(a.pod), status.AsError())
		}
	}
	bound := a.pod.DeepCopy()
	bound.Spec.NodeName = node
	a.scheduler.cluster.add(bound)
	return nil
}

// errUnknown is a name in a request that no object has.
var errUnknown = errors.New("not among the objects")
