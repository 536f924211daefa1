package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// objects are the objects of one request.
type objects struct {
	nodes []*v1.Node
	pods  []*v1.Pod
	// others are what plugins look up by name.
	others []runtime.Object
}

// kinds are the objects that plugins look up, by apiVersion and kind.
var kinds = map[[2]string]func() runtime.Object{
	{"v1", "Namespace"}:                         func() runtime.Object { return &v1.Namespace{} },
	{"v1", "PersistentVolume"}:                  func() runtime.Object { return &v1.PersistentVolume{} },
	{"v1", "PersistentVolumeClaim"}:             func() runtime.Object { return &v1.PersistentVolumeClaim{} },
	{"v1", "Service"}:                           func() runtime.Object { return &v1.Service{} },
	{"apps/v1", "ReplicaSet"}:                   func() runtime.Object { return &appsv1.ReplicaSet{} },
	{"storage.k8s.io/v1", "CSIDriver"}:          func() runtime.Object { return &storagev1.CSIDriver{} },
	{"storage.k8s.io/v1", "CSINode"}:            func() runtime.Object { return &storagev1.CSINode{} },
	{"storage.k8s.io/v1", "CSIStorageCapacity"}: func() runtime.Object { return &storagev1.CSIStorageCapacity{} },
	{"storage.k8s.io/v1", "StorageClass"}:       func() runtime.Object { return &storagev1.StorageClass{} },
	{"storage.k8s.io/v1", "VolumeAttachment"}:   func() runtime.Object { return &storagev1.VolumeAttachment{} },
}

// decode reads objects. Of kinds that no plugin looks at, NodeGroups among them, there may be any number.
func decode(raw []json.RawMessage) (*objects, error) {
	result := &objects{}
	for _, text := range raw {
		var meta metav1.TypeMeta
		if err := json.Unmarshal(text, &meta); err != nil {
			return nil, err
		}
		var target runtime.Object
		switch kind := [2]string{meta.APIVersion, meta.Kind}; kind {
		case [2]string{"v1", "Node"}:
			node := &v1.Node{}
			result.nodes = append(result.nodes, node)
			target = node
		case [2]string{"v1", "Pod"}:
			pod := &v1.Pod{}
			result.pods = append(result.pods, pod)
			target = pod
		default:
			create, known := kinds[kind]
			if !known {
				continue
			}
			target = create()
			result.others = append(result.others, target)
		}
		if err := json.Unmarshal(text, target); err != nil {
			return nil, fmt.Errorf("%s: %w", meta.Kind, err)
		}
	}
	for _, pod := range result.pods {
		// The scheduler knows pods by their UID.
		if pod.UID == "" {
			pod.UID = types.UID(podName(pod))
		}
	}
	return result, nil
}

// cluster is what the scheduler's cache holds: nodes with the pods that are bound to them and have not ended.
type cluster struct {
	infos     map[string]*framework.NodeInfo
	list      []fwk.NodeInfo
	affine    []fwk.NodeInfo
	repulsive []fwk.NodeInfo
	// nominated are the pods that preemption keeps room for, by node.
	nominated map[string][]*framework.PodInfo
}

var (
	_ fwk.SharedLister      = &cluster{}
	_ fwk.NodeInfoLister    = &cluster{}
	_ fwk.StorageInfoLister = &cluster{}
)

func newCluster(objects *objects) (*cluster, error) {
	result := &cluster{
		infos:     make(map[string]*framework.NodeInfo, len(objects.nodes)),
		nominated: make(map[string][]*framework.PodInfo),
	}
	for _, node := range objects.nodes {
		if _, known := result.infos[node.Name]; known {
			return nil, fmt.Errorf("two nodes %s", node.Name)
		}
		info := framework.NewNodeInfo()
		info.SetNode(node)
		result.infos[node.Name] = info
		result.list = append(result.list, info)
	}
	for _, pod := range objects.pods {
		nominee := pod.Spec.NodeName == "" && pod.Status.NominatedNodeName != ""
		if !nominee && !result.holds(pod) || hasEnded(pod) {
			continue
		}
		info, err := framework.NewPodInfo(pod)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", podName(pod), err)
		}
		if nominee {
			node := pod.Status.NominatedNodeName
			result.nominated[node] = append(result.nominated[node], info)
		} else {
			result.infos[pod.Spec.NodeName].AddPodInfo(info)
		}
	}
	for _, info := range result.infos {
		result.refresh(info)
	}
	return result, nil
}

// holds reports whether the pod is bound to a node of the cluster.
func (c *cluster) holds(pod *v1.Pod) bool {
	_, known := c.infos[pod.Spec.NodeName]
	return known
}

// add puts a pod on its node.
func (c *cluster) add(pod *v1.Pod) {
	info := c.infos[pod.Spec.NodeName]
	info.AddPod(pod)
	c.refresh(info)
}

// remove takes a pod off its node, and gives the node as if the pod had never been there. NodeInfo's own RemovePod takes a host
// port away from other pods that have it too, which happens only to pods that were bound by hand.
func (c *cluster) remove(pod *v1.Pod) *framework.NodeInfo {
	before := c.infos[pod.Spec.NodeName]
	info := framework.NewNodeInfo()
	info.SetNode(before.Node())
	for _, other := range before.Pods {
		if other.GetPod().UID != pod.UID {
			info.AddPodInfo(other)
		}
	}
	c.replace(before, info)
	return info
}

// replace puts another state of a node in the place of the one that was there.
func (c *cluster) replace(before, info *framework.NodeInfo) {
	c.infos[info.Node().Name] = info
	c.list[slices.Index(c.list, fwk.NodeInfo(before))] = info
	same := func(other fwk.NodeInfo) bool { return other == fwk.NodeInfo(before) }
	c.affine = slices.DeleteFunc(c.affine, same)
	c.repulsive = slices.DeleteFunc(c.repulsive, same)
	c.refresh(info)
}

// refresh brings a node into the lists of nodes with pods that have terms, or out of them.
func (c *cluster) refresh(info *framework.NodeInfo) {
	update := func(list []fwk.NodeInfo, wanted bool) []fwk.NodeInfo {
		index := slices.IndexFunc(list, func(other fwk.NodeInfo) bool { return other == fwk.NodeInfo(info) })
		switch {
		case wanted && index < 0:
			return append(list, info)
		case !wanted && 0 <= index:
			return slices.Delete(list, index, index+1)
		default:
			return list
		}
	}
	c.affine = update(c.affine, 0 < len(info.PodsWithAffinity))
	c.repulsive = update(c.repulsive, 0 < len(info.PodsWithRequiredAntiAffinity))
}

func (c *cluster) NodeInfos() fwk.NodeInfoLister           { return c }
func (c *cluster) StorageInfos() fwk.StorageInfoLister     { return c }
func (c *cluster) PodGroupStates() fwk.PodGroupStateLister { return nil }

func (c *cluster) List() ([]fwk.NodeInfo, error)                     { return c.list, nil }
func (c *cluster) HavePodsWithAffinityList() ([]fwk.NodeInfo, error) { return c.affine, nil }

func (c *cluster) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	return c.repulsive, nil
}

func (c *cluster) Get(name string) (fwk.NodeInfo, error) {
	if info, known := c.infos[name]; known {
		return info, nil
	}
	return nil, fmt.Errorf("node %q is not in the cluster", name)
}

func (c *cluster) IsPVCUsedByPods(key string) bool {
	for _, info := range c.infos {
		if 0 < info.PVCRefCounts[key] {
			return true
		}
	}
	return false
}

// listers is an informer factory that holds the objects of a request and is never started: what informers of a client
// hold once they are synced, without the client.
type listers struct {
	informers.SharedInformerFactory
	byType map[reflect.Type]*store
}

func newListers(objects *objects) (*listers, error) {
	result := &listers{
		// It makes the informers of all kinds that are not in `kinds`, which stay empty.
		SharedInformerFactory: informers.NewSharedInformerFactory(nil, 0),
		byType:                make(map[reflect.Type]*store),
	}
	for _, object := range objects.others {
		if err := result.store(object).indexer.Add(object); err != nil {
			return nil, err
		}
	}
	for _, pod := range objects.pods {
		if err := result.store(pod).indexer.Add(pod); err != nil {
			return nil, err
		}
	}
	for _, node := range objects.nodes {
		if err := result.store(node).indexer.Add(node); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func (l *listers) Apps() apps.Interface       { return apps.New(l, metav1.NamespaceAll, nil) }
func (l *listers) Core() core.Interface       { return core.New(l, metav1.NamespaceAll, nil) }
func (l *listers) Storage() storage.Interface { return storage.New(l, metav1.NamespaceAll, nil) }

func (l *listers) InformerFor(object runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	return l.store(object)
}

func (l *listers) store(object runtime.Object) *store {
	kind := reflect.TypeOf(object)
	if l.byType[kind] == nil {
		byNamespace := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
		l.byType[kind] = &store{indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, byNamespace)}
	}
	return l.byType[kind]
}

// store is an informer that is synced from the start and never changes.
type store struct {
	cache.SharedIndexInformer
	indexer cache.Indexer
}

func (s *store) GetIndexer() cache.Indexer { return s.indexer }
func (s *store) GetStore() cache.Store     { return s.indexer }
func (s *store) HasSynced() bool           { return true }

func (s *store) AddIndexers(indexers cache.Indexers) error { return s.indexer.AddIndexers(indexers) }

// AddEventHandler tells the handler of all objects at once.
func (s *store) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	for _, object := range s.indexer.List() {
		handler.OnAdd(object, true)
	}
	return s, nil
}

// podName is the name of a pod as requests write it.
func podName(pod *v1.Pod) string {
	return pod.Namespace + "/" + pod.Name
}

// hasEnded reports whether all containers of a pod have ended. The scheduler never sees such pods.
func hasEnded(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}
