package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// orders is in how many orders bindings are tried before they are given up.
const orders = 4

// judge answers which nodes fit each pod. A pod that is bound is judged as if it were pending: its own use is taken
// off, and NodeName refuses all other nodes.
func judge(plugins *profile, objects *objects, pods []string) ([]podAnswer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	scheduler, err := plugins.start(ctx, objects)
	if err != nil {
		return nil, err
	}
	byName := podsByName(objects)
	answers := make([]podAnswer, 0, len(pods))
	for _, name := range pods {
		pod, known := byName[name]
		if !known {
			return nil, fmt.Errorf("pod %s: %w", name, errUnknown)
		}
		answer, err := scheduler.judge(ctx, pod)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func (s *scheduler) judge(ctx context.Context, pod *v1.Pod) (podAnswer, error) {
	if s.cluster.holds(pod) && !hasEnded(pod) {
		with := s.cluster.infos[pod.Spec.NodeName]
		without := s.cluster.remove(pod)
		defer s.cluster.replace(without, with)
	}
	attempt := s.begin(ctx, pod)
	answer := podAnswer{Pod: podName(pod), Nodes: make([]verdict, 0, len(s.cluster.list))}
	for _, info := range s.cluster.list {
		name := info.Node().Name
		no, err := attempt.judge(ctx, s.cluster.infos[name])
		if err != nil {
			return podAnswer{}, err
		}
		fits := no.plugin == ""
		answer.Nodes = append(answer.Nodes, verdict{Node: name, Fits: fits, Plugin: no.plugin, Message: no.message})
	}
	return answer, nil
}

// bindAll binds pods one after another, each only when all plugins accept it at that moment, and answers which could
// not be bound. The order that is asked for is the first that is tried.
//
// Those that are refused are tried again as long as others are bound, since what is bound can make room: affinity wants
// the other pod first, and a spread constraint the emptier domains. What is bound can also take room away, from pods that
// are to be spread by where others are: so pods take turns (see turns). Those that are left then are taken from the end:
// each that is accepted beside all others may be the last of them. If that does not lead to the end, those that were left
// go first in the next order.
func bindAll(plugins *profile, objects *objects, binds []binding) ([]refusal, error) {
	turn, err := turns(objects, binds)
	if err != nil {
		return nil, err
	}
	order := slices.Clone(binds)
	var best []refusal
	for attempt := range orders {
		if 0 < attempt {
			slices.SortStableFunc(order, func(one, other binding) int { return turn[one.Pod] - turn[other.Pod] })
		}
		left, err := bindInOrder(plugins, objects, order)
		if err != nil {
			return nil, err
		}
		if 0 < attempt {
			for _, refusal := range left {
				turn[refusal.Pod] = 0
			}
		}
		if 0 < len(left) {
			left, err = bindFromEnd(plugins, objects, binds, left)
			if err != nil {
				return nil, err
			}
		}
		if attempt == 0 || len(left) < len(best) {
			best = left
		}
		if len(best) == 0 {
			break
		}
	}
	return best, nil
}

// turns gives each pod its turn: of pods that look the same and go to the same zone the first goes in turn 1, the second
// in turn 2, and so on. So pods of every kind grow evenly over the zones, for as long as there are some left for each.
// Turn 0 is for those that have to go first.
func turns(objects *objects, binds []binding) (map[string]int, error) {
	byName := podsByName(objects)
	zones := make(map[string]string)
	for _, node := range objects.nodes {
		zones[node.Name] = node.Labels[v1.LabelTopologyZone]
	}
	alike := make(map[string]int)
	result := make(map[string]int, len(binds))
	for _, bind := range binds {
		pod, known := byName[bind.Pod]
		if !known {
			return nil, fmt.Errorf("pod %s: %w", bind.Pod, errUnknown)
		}
		looks, err := json.Marshal([]any{
			pod.Namespace, pod.Labels, pod.Spec.TopologySpreadConstraints, zones[bind.Node],
		})
		if err != nil {
			return nil, err
		}
		alike[string(looks)]++
		result[bind.Pod] = alike[string(looks)]
	}
	return result, nil
}

// bindFromEnd finds, for pods that could not be bound after the others, an order from the end: it starts where all pods
// are bound, and takes away whichever of them is accepted where it was. It answers which are never accepted.
func bindFromEnd(plugins *profile, objects *objects, binds []binding, last []refusal) ([]refusal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	scheduler, err := plugins.start(ctx, objects)
	if err != nil {
		return nil, err
	}
	byName := podsByName(objects)
	bound := make(map[string]*v1.Pod, len(binds))
	for _, bind := range binds {
		pod := byName[bind.Pod].DeepCopy()
		pod.Spec.NodeName = bind.Node
		scheduler.cluster.add(pod)
		bound[bind.Pod] = pod
	}
	waiting := slices.Clone(last)
	for taken := true; taken && 0 < len(waiting); {
		taken = false
		refusedNow := waiting[:0]
		for _, next := range waiting {
			node := scheduler.cluster.infos[next.Node]
			without := scheduler.cluster.remove(bound[next.Pod])
			no, err := scheduler.begin(ctx, byName[next.Pod]).judge(ctx, without)
			if err != nil {
				return nil, err
			}
			if no.plugin == "" {
				taken = true
				continue
			}
			scheduler.cluster.replace(without, node)
			refusedNow = append(refusedNow, refusal{next.binding, no.plugin, no.message})
		}
		waiting = refusedNow
	}
	return waiting, nil
}

// bindInOrder binds what fits in this order, again and again until nothing does, and answers which are left.
func bindInOrder(plugins *profile, objects *objects, order []binding) ([]refusal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	scheduler, err := plugins.start(ctx, objects)
	if err != nil {
		return nil, err
	}
	byName := podsByName(objects)
	waiting := make([]refusal, 0, len(order))
	for _, bind := range order {
		waiting = append(waiting, refusal{binding: bind})
	}
	for bound := true; bound && 0 < len(waiting); {
		bound = false
		refusedNow := waiting[:0]
		for _, next := range waiting {
			no, err := scheduler.tryToBind(ctx, byName[next.Pod], next.Node)
			if err != nil {
				return nil, err
			}
			if no.plugin == "" {
				bound = true
				continue
			}
			refusedNow = append(refusedNow, refusal{next.binding, no.plugin, no.message})
		}
		waiting = refusedNow
	}
	return waiting, nil
}

func (s *scheduler) tryToBind(ctx context.Context, pod *v1.Pod, node string) (refused, error) {
	info, known := s.cluster.infos[node]
	if !known {
		return refused{}, fmt.Errorf("node %s: %w", node, errUnknown)
	}
	attempt := s.begin(ctx, pod)
	if no, err := attempt.judge(ctx, info); err != nil || no.plugin != "" {
		return no, err
	}
	return refused{}, attempt.bind(ctx, node)
}

func podsByName(objects *objects) map[string]*v1.Pod {
	result := make(map[string]*v1.Pod, len(objects.pods))
	for _, pod := range objects.pods {
		result[podName(pod)] = pod
	}
	return result
}
