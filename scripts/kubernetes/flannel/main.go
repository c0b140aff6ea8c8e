// A stand-in for flannel's CNI plugin, which Debian does not have: it turns flanneld's /run/flannel/subnet.env into a
// configuration of the plugins bridge and host-local, keeps it below /var/lib/cni/flannel for the deletion, and lets them do
// it. It is compiled in Kubernetes' own tree, with what that comes with.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
)

const (
	subnets = "/run/flannel/subnet.env"
	kept    = "/var/lib/cni/flannel"
)

// An error as the specification of CNI wants it.
func fail(err error) {
	if err != nil {
		text, _ := json.Marshal(map[string]interface{}{"cniVersion": "0.3.1", "code": 100, "msg": err.Error()})
		fmt.Println(string(text))
		os.Exit(1)
	}
}

func subnet() (map[string]string, error) {
	text, err := os.ReadFile(subnets)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if parts := strings.SplitN(line, "=", 2); len(parts) == 2 {
			values[parts[0]] = parts[1]
		}
	}
	for _, name := range []string{"FLANNEL_MTU", "FLANNEL_IPMASQ"} {
		if values[name] == "" {
			return nil, fmt.Errorf("%s is missing %s", subnets, name)
		}
	}
	if values["FLANNEL_SUBNET"] == "" && values["FLANNEL_IPV6_SUBNET"] == "" {
		return nil, fmt.Errorf("%s is missing FLANNEL_SUBNET and FLANNEL_IPV6_SUBNET", subnets)
	}
	return values, nil
}

// What the delegate is configured with; what the user wrote for it wins.
func delegate(conf map[string]interface{}) (map[string]interface{}, error) {
	values, err := subnet()
	if err != nil {
		return nil, err
	}
	result := map[string]interface{}{"type": "bridge", "isGateway": true, "ipMasq": values["FLANNEL_IPMASQ"] != "true"}
	result["mtu"] = json.Number(values["FLANNEL_MTU"])
	if asked, ok := conf["delegate"].(map[string]interface{}); ok {
		for name, value := range asked {
			result[name] = value
		}
	}
	result["name"], result["cniVersion"] = conf["name"], conf["cniVersion"]
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, name := range []string{"FLANNEL_", "FLANNEL_IPV6_"} {
		if values[name+"SUBNET"] == "" {
			continue
		}
		// flanneld writes the gateway's address: 10.244.1.1/24.
		_, own, err := net.ParseCIDR(values[name+"SUBNET"])
		if err != nil {
			return nil, fmt.Errorf("%s: %sSUBNET: %v", subnets, name, err)
		}
		ranges = append(ranges, []map[string]string{{"subnet": own.String()}})
		routes = append(routes, map[string]string{"dst": values[name+"NETWORK"]})
	}
	result["ipam"] = map[string]interface{}{"type": "host-local", "ranges": ranges, "routes": routes}
	return result, nil
}

func main() {
	ctx, container := context.Background(), filepath.Base(os.Getenv("CNI_CONTAINERID"))
	path := filepath.Join(kept, container)
	text, err := io.ReadAll(os.Stdin)
	fail(err)
	switch os.Getenv("CNI_COMMAND") {
	case "VERSION":
		fmt.Println(`{"cniVersion":"0.4.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0"]}`)
	case "ADD":
		conf := map[string]interface{}{}
		fail(json.Unmarshal(text, &conf))
		wanted, err := delegate(conf)
		fail(err)
		text, err := json.Marshal(wanted)
		fail(err)
		fail(os.MkdirAll(kept, 0o700))
		fail(os.WriteFile(path, text, 0o600))
		result, err := invoke.DelegateAdd(ctx, wanted["type"].(string), text, nil)
		fail(err)
		fail(result.Print())
	case "DEL":
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return
		}
		fail(err)
		conf := map[string]interface{}{}
		fail(json.Unmarshal(text, &conf))
		name, _ := conf["type"].(string)
		fail(invoke.DelegateDel(ctx, name, text, nil))
		fail(os.Remove(path))
	case "CHECK":
	default:
		fail(fmt.Errorf("CNI_COMMAND %q is not known", os.Getenv("CNI_COMMAND")))
	}
}
