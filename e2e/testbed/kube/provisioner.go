package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// The provisioner makes volumes of type `local`: a directory on the disk of the
// node that the scheduler chose. Unlike hostPath volumes these honour fsGroup,
// so pods need not be root. The nodes' disks are folders of the host, so one
// process in the control plane serves them all.

const (
	provisionerName = "testbed.pliantdb.dev/local"
	selectedNode    = "volume.kubernetes.io/selected-node"
	provisionedBy   = "pv.kubernetes.io/provisioned-by"
	hostnameLabel   = "kubernetes.io/hostname"
)

type provisioner struct {
	client        kubernetes.Interface
	claims        corelisters.PersistentVolumeClaimLister
	volumes       corelisters.PersistentVolumeLister
	classes       storagelisters.StorageClassLister
	hostDirectory string // with {node} in place of the node's name
	nodeDirectory string
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig, hostDirectory, nodeDirectory string
	c := &cobra.Command{
		Use:   "volume-provisioner",
		Short: "Makes, grows and deletes local volumes (" + provisionerName + ")",
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return runProvisioner(c.Context(), client, hostDirectory, nodeDirectory)
		},
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	c.Flags().StringVar(&hostDirectory, "host-directory", "", "a node's volumes as this process sees them, with {node} for its name")
	c.Flags().StringVar(&nodeDirectory, "node-directory", "", "the same folder as the node sees it")
	return c
}

func runProvisioner(ctx context.Context, client kubernetes.Interface, hostDirectory, nodeDirectory string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	factory := informers.NewSharedInformerFactory(client, time.Minute)
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	p := &provisioner{client, claims.Lister(), volumes.Lister(), classes.Lister(), hostDirectory, nodeDirectory}

	// Any change leads to a look at everything: there is little of it, and no
	// event can be missed or come too early.
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer(), classes.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("no first list of %v", kind)
		}
	}
	for {
		if err := p.reconcile(ctx); err != nil {
			klog.ErrorS(err, "will be tried again")
			time.AfterFunc(time.Second, notify)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (p *provisioner) reconcile(ctx context.Context) error {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	volumes, err := p.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	var failures []error
	for _, claim := range claims {
		failures = append(failures, p.reconcileClaim(ctx, claim))
	}
	for _, volume := range volumes {
		failures = append(failures, p.reconcileVolume(ctx, volume))
	}
	return errors.Join(failures...)
}

func (p *provisioner) reconcileClaim(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil || claim.DeletionTimestamp != nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if apierrors.IsNotFound(err) || err == nil && class.Provisioner != provisionerName {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case claim.Spec.VolumeName == "" && claim.Annotations[selectedNode] != "":
		return p.create(ctx, claim, *class.ReclaimPolicy, class.Name)
	case claim.Status.Phase == core.ClaimBound:
		return p.grow(ctx, claim)
	}
	return nil
}

// create makes the directory and the volume; the controller manager binds it.
func (p *provisioner) create(ctx context.Context, claim *core.PersistentVolumeClaim, reclaim core.PersistentVolumeReclaimPolicy, class string) error {
	node, name := claim.Annotations[selectedNode], "pvc-"+string(claim.UID)
	if _, err := p.volumes.Get(name); err == nil {
		return nil
	}
	directory := p.onHost(node, name)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: reclaim,
			StorageClassName:              class,
			VolumeMode:                    claim.Spec.VolumeMode,
			ClaimRef: &core.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: filepath.Join(p.nodeDirectory, name)},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{
					{Key: hostnameLabel, Operator: core.NodeSelectorOpIn, Values: []string{node}},
				}}},
			}},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		klog.InfoS("made a volume", "claim", klog.KObj(claim), "node", node, "directory", directory)
	}
	return err
}

// grow acts as the resizer: first the volume's capacity, then the claim's.
func (p *provisioner) grow(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	wanted := claim.Spec.Resources.Requests[core.ResourceStorage]
	volume, err := p.volumes.Get(claim.Spec.VolumeName)
	if apierrors.IsNotFound(err) || err == nil && volume.Annotations[provisionedBy] != provisionerName {
		return nil
	}
	if err != nil {
		return err
	}
	if has := volume.Spec.Capacity[core.ResourceStorage]; has.Cmp(wanted) < 0 {
		volume = volume.DeepCopy()
		volume.Spec.Capacity[core.ResourceStorage] = wanted
		if _, err := p.client.CoreV1().PersistentVolumes().Update(ctx, volume, meta.UpdateOptions{}); err != nil {
			return err
		}
		klog.InfoS("grew a volume", "claim", klog.KObj(claim), "to", wanted.String())
	}
	if has := claim.Status.Capacity[core.ResourceStorage]; has.Cmp(wanted) < 0 {
		claim = claim.DeepCopy()
		claim.Status.Capacity[core.ResourceStorage] = wanted
		claim.Status.Conditions = nil // "Resizing", "FileSystemResizePending": over
		if _, err := p.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, meta.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// reconcileVolume deletes what nobody claims any more.
func (p *provisioner) reconcileVolume(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[provisionedBy] != provisionerName || volume.DeletionTimestamp != nil ||
		volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	node := volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
	directory := p.onHost(node, volume.Name)
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	klog.InfoS("deleted a volume", "volume", volume.Name, "node", node, "directory", directory)
	return nil
}

func (p *provisioner) onHost(node, volume string) string {
	return filepath.Join(strings.ReplaceAll(p.hostDirectory, "{node}", node), volume)
}
