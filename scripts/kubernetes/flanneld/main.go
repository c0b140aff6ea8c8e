// A stand-in for flanneld, which Debian does not have: it takes the flags, files and environment that flannel's manifest for
// Kubernetes gives it, and does what its subnet manager for Kubernetes does with the backends vxlan and host-gw: it tells
// the API its tunnel's address in annotations of its node, writes /run/flannel/subnet.env, and keeps routes, neighbours and
// forwarding entries to all nodes that have such annotations. IPv4 only. It is compiled in Kubernetes' own tree, with what
// that comes with.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const prefix = "flannel.alpha.coreos.com/"

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "flanneld (a stand-in):", err)
		os.Exit(1)
	}
}

type netConf struct {
	Network string
	Backend struct {
		Type string
		VNI  int
		Port int
	}
}

type daemon struct {
	conf     netConf
	node     string
	subnet   *net.IPNet
	external netlink.Link
	address  net.IP
	tunnel   netlink.Link // nil with host-gw
	mtu      int
}

// The interface that reaches the others: one that was named, or that of the default route.
func (d *daemon) choose(name string) {
	if name == "" {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		fail(err)
		for _, route := range routes {
			if route.Dst == nil {
				link, err := netlink.LinkByIndex(route.LinkIndex)
				fail(err)
				name = link.Attrs().Name
			}
		}
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		fail(fmt.Errorf("failed to find interface to use: %q: %v", name, err))
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	fail(err)
	if len(addresses) == 0 {
		fail(fmt.Errorf("interface %s has no IPv4 address", name))
	}
	d.external, d.address, d.mtu = link, addresses[0].IP, link.Attrs().MTU
	fmt.Println("flanneld (a stand-in): using", name, d.address, "as external interface")
}

// The tunnel, made anew unless it is as it should be.
func (d *daemon) dig() {
	name := fmt.Sprintf("flannel.%d", d.conf.Backend.VNI)
	wanted := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: d.mtu - 50},
		VxlanId:   d.conf.Backend.VNI, VtepDevIndex: d.external.Attrs().Index, SrcAddr: d.address, Port: d.conf.Backend.Port,
	}
	if old, err := netlink.LinkByName(name); err == nil {
		is, ok := old.(*netlink.Vxlan)
		if !ok || is.VxlanId != wanted.VxlanId || is.Port != wanted.Port || !is.SrcAddr.Equal(d.address) {
			fail(netlink.LinkDel(old))
		}
	}
	if _, err := netlink.LinkByName(name); err != nil {
		fail(netlink.LinkAdd(wanted))
	}
	link, err := netlink.LinkByName(name)
	fail(err)
	fail(netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: d.subnet.IP, Mask: net.CIDRMask(32, 32)}}))
	fail(netlink.LinkSetUp(link))
	d.tunnel, d.mtu = link, d.mtu-50
}

func (d *daemon) annotations() map[string]string {
	data := "null"
	if d.tunnel != nil {
		data = fmt.Sprintf(`{"VtepMAC":"%s"}`, d.tunnel.Attrs().HardwareAddr)
	}
	return map[string]string{prefix + "backend-type": d.conf.Backend.Type, prefix + "backend-data": data,
		prefix + "public-ip": d.address.String(), prefix + "kube-subnet-manager": "true"}
}

// Makes the way to a node, or takes it away.
func (d *daemon) way(node *core.Node, gone bool) {
	notes := node.Annotations
	if node.Name == d.node || notes[prefix+"kube-subnet-manager"] != "true" || notes[prefix+"backend-type"] != d.conf.Backend.Type {
		return
	}
	address := net.ParseIP(notes[prefix+"public-ip"])
	_, subnet, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil || address == nil {
		fmt.Fprintln(os.Stderr, "flanneld (a stand-in): node", node.Name, "has no subnet or address")
		return
	}
	route := &netlink.Route{LinkIndex: d.external.Attrs().Index, Dst: subnet, Gw: address}
	var neighbours []*netlink.Neigh
	if d.tunnel != nil {
		var data struct{ VtepMAC string }
		_ = json.Unmarshal([]byte(notes[prefix+"backend-data"]), &data)
		mac, err := net.ParseMAC(data.VtepMAC)
		if err != nil {
			fmt.Fprintln(os.Stderr, "flanneld (a stand-in): node", node.Name, "has no tunnel:", err)
			return
		}
		index := d.tunnel.Attrs().Index
		route = &netlink.Route{LinkIndex: index, Dst: subnet, Gw: subnet.IP, Flags: int(netlink.FLAG_ONLINK)}
		neighbours = []*netlink.Neigh{
			{LinkIndex: index, State: netlink.NUD_PERMANENT, Type: syscall.RTN_UNICAST, IP: subnet.IP, HardwareAddr: mac},
			{LinkIndex: index, State: netlink.NUD_PERMANENT, Family: syscall.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: address, HardwareAddr: mac},
		}
	}
	for _, neighbour := range neighbours {
		if gone {
			err = netlink.NeighDel(neighbour)
		} else {
			err = netlink.NeighSet(neighbour)
		}
		d.tell(node, err)
	}
	if gone {
		err = netlink.RouteDel(route)
	} else {
		err = netlink.RouteReplace(route)
	}
	d.tell(node, err)
}

func (d *daemon) tell(node *core.Node, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "flanneld (a stand-in): the way to", node.Name, "failed:", err)
	}
}

// Rules of the packet filter, each once.
func (d *daemon) rules(masquerade bool) {
	all, own := d.conf.Network, d.subnet.String()
	rules := []string{"filter FORWARD -s " + all + " -j ACCEPT", "filter FORWARD -d " + all + " -j ACCEPT"}
	if masquerade {
		rules = append(rules, "nat POSTROUTING -s "+all+" -d "+all+" -j RETURN",
			"nat POSTROUTING -s "+all+" ! -d 224.0.0.0/4 -j MASQUERADE",
			"nat POSTROUTING ! -s "+all+" -d "+own+" -j RETURN", "nat POSTROUTING ! -s "+all+" -d "+all+" -j MASQUERADE")
	}
	for _, rule := range rules {
		words := strings.Fields(rule)
		if exec.Command("iptables", append([]string{"-w", "-t", words[0], "-C"}, words[1:]...)...).Run() != nil {
			said, err := exec.Command("iptables", append([]string{"-w", "-t", words[0], "-A"}, words[1:]...)...).CombinedOutput()
			if err != nil {
				fail(fmt.Errorf("iptables %s: %s", rule, said))
			}
		}
	}
}

// What the CNI plugin reads.
func (d *daemon) publish(path string, masquerade bool) {
	gateway := append(net.IP(nil), d.subnet.IP.To4()...)
	gateway[3]++
	size, _ := d.subnet.Mask.Size()
	text := fmt.Sprintf("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s/%d\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n",
		d.conf.Network, gateway, size, d.mtu, masquerade)
	fail(os.MkdirAll(filepath.Dir(path), 0o755))
	fail(os.WriteFile(path+".part", []byte(text), 0o644))
	fail(os.Rename(path+".part", path))
}

func main() {
	configuration := flag.String("net-config-path", "/etc/kube-flannel/net-conf.json", "net-conf.json")
	file := flag.String("subnet-file", "/run/flannel/subnet.env", "where the subnet is written")
	name := flag.String("iface", "", "the interface that reaches other nodes")
	masquerade := flag.Bool("ip-masq", false, "whether what leaves the network gets the node's address")
	_ = flag.Bool("kube-subnet-mgr", true, "always so")
	flag.Parse()
	ctx := context.Background()
	d := &daemon{}
	text, err := os.ReadFile(*configuration)
	if err != nil {
		fail(fmt.Errorf("failed to read net conf: %v", err))
	}
	fail(json.Unmarshal(text, &d.conf))
	if d.conf.Backend.VNI == 0 {
		d.conf.Backend.VNI = 1
	}
	if d.conf.Backend.Port == 0 {
		d.conf.Backend.Port = 8472
	}
	config, err := rest.InClusterConfig()
	fail(err)
	client, err := kubernetes.NewForConfig(config)
	fail(err)
	pod, err := client.CoreV1().Pods(os.Getenv("POD_NAMESPACE")).Get(ctx, os.Getenv("POD_NAME"), meta.GetOptions{})
	if err != nil {
		fail(fmt.Errorf("Failed to create SubnetManager: error retrieving pod spec: %v", err))
	}
	d.node = pod.Spec.NodeName
	// Its role may list nodes, and not get them.
	nodes, err := client.CoreV1().Nodes().List(ctx, meta.ListOptions{FieldSelector: "metadata.name=" + d.node})
	fail(err)
	if len(nodes.Items) != 1 || nodes.Items[0].Spec.PodCIDR == "" {
		fail(fmt.Errorf("failed to acquire lease: node %q pod cidr not assigned", d.node))
	}
	_, d.subnet, err = net.ParseCIDR(nodes.Items[0].Spec.PodCIDR)
	fail(err)
	d.choose(*name)
	switch d.conf.Backend.Type {
	case "vxlan":
		d.dig()
	case "host-gw":
	default:
		fail(fmt.Errorf("backend %q is not one of this stand-in: vxlan or host-gw", d.conf.Backend.Type))
	}
	patch, err := json.Marshal(map[string]interface{}{"metadata": map[string]interface{}{"annotations": d.annotations()}})
	fail(err)
	_, err = client.CoreV1().Nodes().Patch(ctx, d.node, types.StrategicMergePatchType, patch, meta.PatchOptions{}, "status")
	fail(err)
	d.rules(*masquerade)
	d.publish(*file, *masquerade)
	fmt.Println("flanneld (a stand-in): lease acquired:", d.subnet)
	factory := informers.NewSharedInformerFactory(client, 5*time.Minute)
	factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(new interface{}) { d.way(new.(*core.Node), false) },
		UpdateFunc: func(_, new interface{}) { d.way(new.(*core.Node), false) },
		DeleteFunc: func(old interface{}) {
			if unknown, ok := old.(cache.DeletedFinalStateUnknown); ok {
				old = unknown.Obj
			}
			if node, ok := old.(*core.Node); ok {
				d.way(node, true)
			}
		},
	})
	factory.Start(nil)
	select {}
}
