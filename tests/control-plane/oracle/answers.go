package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// orders is in how many orders bindings are tried before they are given up.
const orders = 6

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
// not be bound.
//
// Those that are refused are tried again as long as others are bound, since what is bound can make room: affinity wants
// the other pod first, and a spread constraint the emptier domains. What is bound can also take room away, from pods that
// are to be spread by where others are: so those go first, in each of the orders that are tried. Those that are left then
// are taken from the end: each that is accepted beside all others may be the last of them.
func bindAll(plugins *profile, objects *objects, binds []binding) ([]refusal, error) {
	var best []refusal
	for order := range orders {
		left, err := bindInOrder(plugins, objects, reordered(binds, order))
		if err != nil {
			return nil, err
		}
		if 0 < len(left) {
			left, err = bindFromEnd(plugins, objects, binds, left)
			if err != nil {
				return nil, err
			}
		}
		if order == 0 || len(left) < len(best) {
			best = left
		}
		if len(best) == 0 {
			break
		}
	}
	return best, nil
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

// reordered gives the bindings as they are, backwards, or in an order of chance that is always the same.
func reordered(binds []binding, order int) []binding {
	result := slices.Clone(binds)
	switch order {
	case 0:
	case 1:
		slices.Reverse(result)
	default:
		source := rand.New(rand.NewPCG(uint64(order), uint64(len(binds))))
		source.Shuffle(len(result), func(i, j int) { result[i], result[j] = result[j], result[i] })
	}
	return result
}

func bindInOrder(plugins *profile, objects *objects, binds []binding) ([]refusal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	scheduler, err := plugins.start(ctx, objects)
	if err != nil {
		return nil, err
	}
	byName := podsByName(objects)
	var spread, others []refusal
	for _, bind := range binds {
		pod, known := byName[bind.Pod]
		if !known {
			return nil, fmt.Errorf("pod %s: %w", bind.Pod, errUnknown)
		}
		if 0 < len(pod.Spec.TopologySpreadConstraints) {
			spread = append(spread, refusal{binding: bind})
		} else {
			others = append(others, refusal{binding: bind})
		}
	}
	left, err := scheduler.bindWhatFits(ctx, byName, spread)
	if err != nil {
		return nil, err
	}
	return scheduler.bindWhatFits(ctx, byName, append(left, others...))
}

// bindWhatFits goes through the pods again and again until it can bind none of them, and answers which are left.
func (s *scheduler) bindWhatFits(ctx context.Context, byName map[string]*v1.Pod, waiting []refusal) ([]refusal, error) {
	for bound := true; bound && 0 < len(waiting); {
		bound = false
		refusedNow := waiting[:0]
		for _, next := range waiting {
			no, err := s.tryToBind(ctx, byName[next.Pod], next.Node)
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
