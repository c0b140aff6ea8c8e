// A stand-in for flanneld, which Debian does not have: it takes the flags, files and environment that flannel's manifest for
// Kubernetes gives it, and does what its subnet manager for Kubernetes does with the backends vxlan and host-gw: it tells
// the API its tunnels' addresses in annotations of its node, writes /run/flannel/subnet.env, and keeps routes, neighbours and
// forwarding entries to all nodes that have such annotations, of IPv4, IPv6 or both. It is compiled in Kubernetes' own tree,
// with what that comes with.
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
	EnableIPv4  *bool
	EnableIPv6  bool
	Network     string
	IPv6Network string
	Backend     struct {
		Type string
		VNI  int
		Port int
	}
}

// What differs between IPv4 and IPv6, and what this node has of it.
type family struct {
	v6      bool
	network string     // of all pods
	subnet  *net.IPNet // of this node's
	address net.IP     // of this node
	tunnel  netlink.Link
}

func (f *family) number() int {
	if f.v6 {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// One of two words.
func (f *family) word(v4, v6 string) string {
	if f.v6 {
		return v6
	}
	return v4
}

// The network of an address alone.
func (f *family) alone(ip net.IP) *net.IPNet {
	if f.v6 {
		return &net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)}
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}
}

// A node's subnet of pods; nil if it has none of this family.
func (f *family) of(node *core.Node) *net.IPNet {
	for _, text := range append([]string{node.Spec.PodCIDR}, node.Spec.PodCIDRs...) {
		if _, subnet, err := net.ParseCIDR(text); err == nil && (subnet.IP.To4() == nil) == f.v6 {
			return subnet
		}
	}
	return nil
}

type daemon struct {
	conf     netConf
	node     string
	external netlink.Link
	families []*family
	mtu      int
}

// The interface that reaches the others: one that was named, or that of the default route.
func (d *daemon) choose(name string) {
	if name == "" {
		routes, err := netlink.RouteList(nil, d.families[0].number())
		fail(err)
		for _, route := range routes {
			// Of IPv6 it may have a destination, of everything.
			if route.Dst == nil || isEverything(route.Dst) {
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
	d.external, d.mtu = link, link.Attrs().MTU
	for _, f := range d.families {
		addresses, err := netlink.AddrList(link, f.number())
		fail(err)
		for _, address := range addresses {
			if f.address == nil && address.IP.IsGlobalUnicast() {
				f.address = address.IP
			}
		}
		if f.address == nil {
			fail(fmt.Errorf("interface %s has no %s address", name, f.word("IPv4", "IPv6")))
		}
		fmt.Println("flanneld (a stand-in): using", name, f.address, "as external interface")
	}
}

func isEverything(network *net.IPNet) bool {
	size, _ := network.Mask.Size()
	return size == 0
}

// The tunnel, made anew unless it is as it should be; and the largest packet that goes through it.
func (d *daemon) dig(f *family) int {
	name := fmt.Sprintf("%s.%d", f.word("flannel", "flannel-v6"), d.conf.Backend.VNI)
	mtu := d.external.Attrs().MTU - 50
	if f.v6 {
		mtu -= 20
	}
	wanted := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu},
		VxlanId:   d.conf.Backend.VNI, VtepDevIndex: d.external.Attrs().Index, SrcAddr: f.address, Port: d.conf.Backend.Port,
	}
	if old, err := netlink.LinkByName(name); err == nil {
		is, ok := old.(*netlink.Vxlan)
		if !ok || is.VxlanId != wanted.VxlanId || is.Port != wanted.Port || !is.SrcAddr.Equal(f.address) {
			fail(netlink.LinkDel(old))
		}
	}
	if _, err := netlink.LinkByName(name); err != nil {
		fail(netlink.LinkAdd(wanted))
	}
	link, err := netlink.LinkByName(name)
	fail(err)
	fail(netlink.AddrReplace(link, &netlink.Addr{IPNet: f.alone(f.subnet.IP)}))
	fail(netlink.LinkSetUp(link))
	f.tunnel = link
	return mtu
}

func (d *daemon) annotations() map[string]string {
	all := map[string]string{prefix + "backend-type": d.conf.Backend.Type, prefix + "kube-subnet-manager": "true"}
	for _, f := range d.families {
		data := "null"
		if f.tunnel != nil {
			data = fmt.Sprintf(`{"VtepMAC":"%s"}`, f.tunnel.Attrs().HardwareAddr)
		}
		all[prefix+f.word("backend-data", "backend-v6-data")] = data
		all[prefix+f.word("public-ip", "public-ipv6")] = f.address.String()
	}
	return all
}

// Makes the ways to a node, or takes them away.
func (d *daemon) ways(node *core.Node, gone bool) {
	notes := node.Annotations
	if node.Name == d.node || notes[prefix+"kube-subnet-manager"] != "true" || notes[prefix+"backend-type"] != d.conf.Backend.Type {
		return
	}
	for _, f := range d.families {
		d.way(f, node, gone)
	}
}

func (d *daemon) way(f *family, node *core.Node, gone bool) {
	notes := node.Annotations
	address, subnet := net.ParseIP(notes[prefix+f.word("public-ip", "public-ipv6")]), f.of(node)
	if subnet == nil || address == nil {
		fmt.Fprintln(os.Stderr, "flanneld (a stand-in): node", node.Name, "has no subnet or address of", f.word("IPv4", "IPv6"))
		return
	}
	route := &netlink.Route{LinkIndex: d.external.Attrs().Index, Dst: subnet, Gw: address}
	var neighbours []*netlink.Neigh
	if f.tunnel != nil {
		var data struct{ VtepMAC string }
		_ = json.Unmarshal([]byte(notes[prefix+f.word("backend-data", "backend-v6-data")]), &data)
		mac, err := net.ParseMAC(data.VtepMAC)
		if err != nil {
			fmt.Fprintln(os.Stderr, "flanneld (a stand-in): node", node.Name, "has no tunnel:", err)
			return
		}
		index := f.tunnel.Attrs().Index
		route = &netlink.Route{LinkIndex: index, Dst: subnet, Gw: subnet.IP, Flags: int(netlink.FLAG_ONLINK)}
		neighbours = []*netlink.Neigh{
			{LinkIndex: index, State: netlink.NUD_PERMANENT, Type: syscall.RTN_UNICAST, IP: subnet.IP, HardwareAddr: mac},
			{LinkIndex: index, State: netlink.NUD_PERMANENT, Family: syscall.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: address, HardwareAddr: mac},
		}
	}
	var err error
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
func (f *family) rules(masquerade bool) {
	all, own, program := f.network, f.subnet.String(), f.word("iptables", "ip6tables")
	rules := []string{"filter FORWARD -s " + all + " -j ACCEPT", "filter FORWARD -d " + all + " -j ACCEPT"}
	if masquerade {
		rules = append(rules, "nat POSTROUTING -s "+all+" -d "+all+" -j RETURN",
			"nat POSTROUTING -s "+all+" ! -d "+f.word("224.0.0.0/4", "ff00::/8")+" -j MASQUERADE",
			"nat POSTROUTING ! -s "+all+" -d "+own+" -j RETURN", "nat POSTROUTING ! -s "+all+" -d "+all+" -j MASQUERADE")
	}
	for _, rule := range rules {
		words := strings.Fields(rule)
		if exec.Command(program, append([]string{"-w", "-t", words[0], "-C"}, words[1:]...)...).Run() != nil {
			said, err := exec.Command(program, append([]string{"-w", "-t", words[0], "-A"}, words[1:]...)...).CombinedOutput()
			if err != nil {
				fail(fmt.Errorf("%s %s: %s", program, rule, said))
			}
		}
	}
}

// What the CNI plugin reads.
func (d *daemon) publish(path string, masquerade bool) {
	text := ""
	for _, f := range d.families {
		gateway := append(net.IP(nil), f.subnet.IP...)
		gateway[len(gateway)-1]++
		size, _ := f.subnet.Mask.Size()
		name := f.word("FLANNEL_", "FLANNEL_IPV6_")
		text += fmt.Sprintf("%sNETWORK=%s\n%sSUBNET=%s/%d\n", name, f.network, name, gateway, size)
	}
	text += fmt.Sprintf("FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", d.mtu, masquerade)
	fail(os.MkdirAll(filepath.Dir(path), 0o755))
	fail(os.WriteFile(path+".part", []byte(text), 0o644))
	fail(os.Rename(path+".part", path))
}

// The families that are switched on.
func (d *daemon) wanted() {
	if d.conf.EnableIPv4 == nil || *d.conf.EnableIPv4 {
		d.families = append(d.families, &family{network: d.conf.Network})
	}
	if d.conf.EnableIPv6 {
		d.families = append(d.families, &family{v6: true, network: d.conf.IPv6Network})
	}
	for _, f := range d.families {
		if _, network, err := net.ParseCIDR(f.network); err != nil || (network.IP.To4() == nil) != f.v6 {
			fail(fmt.Errorf("%q is no network of %s", f.network, f.word("IPv4", "IPv6")))
		}
	}
	if len(d.families) == 0 {
		fail(fmt.Errorf("neither IPv4 nor IPv6 is enabled"))
	}
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
	d.wanted()
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
	for _, f := range d.families {
		if len(nodes.Items) == 1 {
			f.subnet = f.of(&nodes.Items[0])
		}
		if f.subnet == nil {
			fail(fmt.Errorf("failed to acquire lease: node %q pod cidr not assigned (%s)", d.node, f.word("IPv4", "IPv6")))
		}
	}
	d.choose(*name)
	switch d.conf.Backend.Type {
	case "vxlan":
		for _, f := range d.families {
			if mtu := d.dig(f); mtu < d.mtu {
				d.mtu = mtu
			}
		}
	case "host-gw":
	default:
		fail(fmt.Errorf("backend %q is not one of this stand-in: vxlan or host-gw", d.conf.Backend.Type))
	}
	patch, err := json.Marshal(map[string]interface{}{"metadata": map[string]interface{}{"annotations": d.annotations()}})
	fail(err)
	_, err = client.CoreV1().Nodes().Patch(ctx, d.node, types.StrategicMergePatchType, patch, meta.PatchOptions{}, "status")
	fail(err)
	for _, f := range d.families {
		f.rules(*masquerade)
		fmt.Println("flanneld (a stand-in): lease acquired:", f.subnet)
	}
	d.publish(*file, *masquerade)
	factory := informers.NewSharedInformerFactory(client, 5*time.Minute)
	factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(new interface{}) { d.ways(new.(*core.Node), false) },
		UpdateFunc: func(_, new interface{}) { d.ways(new.(*core.Node), false) },
		DeleteFunc: func(old interface{}) {
			if unknown, ok := old.(cache.DeletedFinalStateUnknown); ok {
				old = unknown.Obj
			}
			if node, ok := old.(*core.Node); ok {
				d.ways(node, true)
			}
		},
	})
	factory.Start(nil)
	select {}
}
