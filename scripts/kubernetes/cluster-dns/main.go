// A stand-in for CoreDNS, which Debian does not have: it runs where kubeadm's add-on puts CoreDNS, reads the zone in the
// Corefile, and answers A and AAAA queries for services: SERVICE.NAMESPACE.svc.ZONE is the cluster IPs, or the addresses of
// ready endpoints if there are none. It has no plugins, no cache, no PTR or SRV records, and forwards nothing. It is
// compiled in Kubernetes' own tree, with what that comes with.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	core "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster-dns (a stand-in for CoreDNS):", err)
		os.Exit(1)
	}
}

// The zone after the word "kubernetes" in the Corefile.
func zone(path string) string {
	text, err := os.ReadFile(path)
	fail(err)
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "kubernetes" {
			return dns.Fqdn(words[1])
		}
	}
	fail(fmt.Errorf("%s has no line with kubernetes and a zone", path))
	return ""
}

type server struct {
	zone      string
	services  core.ServiceLister
	endpoints core.EndpointsLister
}

// The addresses of a name; false if there is no such name.
func (s server) addresses(name string) ([]string, bool) {
	parts := strings.Split(strings.TrimSuffix(strings.ToLower(name), ".svc."+s.zone), ".")
	if len(parts) != 2 {
		return nil, false
	}
	service, err := s.services.Services(parts[1]).Get(parts[0])
	if err != nil {
		return nil, false
	}
	if service.Spec.ClusterIP != "None" {
		return append([]string{service.Spec.ClusterIP}, service.Spec.ClusterIPs...), true
	}
	var all []string
	if endpoints, err := s.endpoints.Endpoints(parts[1]).Get(parts[0]); err == nil {
		for _, subset := range endpoints.Subsets {
			for _, address := range subset.Addresses {
				all = append(all, address.IP)
			}
		}
	}
	return all, true
}

func (s server) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(question)
	defer func() { _ = w.WriteMsg(answer) }()
	if len(question.Question) != 1 || !dns.IsSubDomain(s.zone, strings.ToLower(question.Question[0].Name)) {
		answer.Rcode = dns.RcodeRefused
		return
	}
	asked := question.Question[0]
	answer.Authoritative = true
	addresses, known := s.addresses(asked.Name)
	if !known {
		answer.Rcode = dns.RcodeNameError
	}
	told := map[string]bool{}
	for _, address := range addresses {
		ip := net.ParseIP(address)
		if ip == nil || told[ip.String()] {
			continue
		}
		told[ip.String()] = true
		header := dns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: dns.ClassINET, Ttl: 5}
		switch v4 := ip.To4(); {
		case v4 != nil && asked.Qtype == dns.TypeA:
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: v4})
		case v4 == nil && asked.Qtype == dns.TypeAAAA:
			answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: header, AAAA: ip})
		}
	}
}

// Answers on a port with "OK" when ready says so.
func health(address, path string, ready func() bool) {
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "OK")
	})
	fail(http.ListenAndServe(address, mux))
}

func main() {
	corefile := flag.String("conf", "Corefile", "the Corefile, of which only the zone is read")
	flag.Parse()
	config, err := rest.InClusterConfig()
	fail(err)
	client, err := kubernetes.NewForConfig(config)
	fail(err)
	factory := informers.NewSharedInformerFactory(client, 10*time.Minute)
	services, endpoints := factory.Core().V1().Services(), factory.Core().V1().Endpoints()
	synced := []cache.InformerSynced{services.Informer().HasSynced, endpoints.Informer().HasSynced}
	s := server{zone(*corefile), services.Lister(), endpoints.Lister()}
	factory.Start(nil)
	ready := func() bool { return synced[0]() && synced[1]() }
	go health(":8080", "/health", func() bool { return true })
	go health(":8181", "/ready", ready)
	cache.WaitForCacheSync(nil, synced...)
	list, err := s.services.List(labels.Everything())
	fail(err)
	fmt.Println("cluster-dns (a stand-in for CoreDNS): serving", s.zone, "with", len(list), "services")
	for _, network := range []string{"udp", "tcp"} {
		network := network
		go func() { fail(dns.ListenAndServe(":53", network, s)) }()
	}
	select {}
}
