// A stand-in for crictl, which Debian 12 does not have: the verbs that kubeadm 1.20 and people looking at a broken node
// use, spoken to the runtime over the real CRI. It is compiled in Kubernetes' own tree, with what that comes with.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
)

const usage = `crictl (a stand-in): crictl [-r SOCKET] VERB
  info | version | pull IMAGE | inspecti IMAGE | images | pods [-q] | stopp POD… | rmp POD… | ps [-a] [-q] | logs CONTAINER`

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func print(message interface{}) {
	text, err := json.MarshalIndent(message, "", "  ")
	fail(err)
	fmt.Println(string(text))
}

// An image is named with a tag, as kubelets do.
func tagged(name string) string {
	if strings.Contains(name, "@") || strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
		return name
	}
	return name + ":latest"
}

func logs(ctx context.Context, runtime cri.RuntimeServiceClient, id string) {
	status, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	fail(err)
	text, err := os.ReadFile(status.Status.LogPath)
	fail(err)
	for _, line := range strings.SplitAfter(string(text), "\n") {
		// Time, stream, flags, and what was said.
		if parts := strings.SplitN(line, " ", 4); len(parts) == 4 {
			fmt.Print(parts[3])
		}
	}
}

func pods(ctx context.Context, runtime cri.RuntimeServiceClient, quiet bool) {
	list, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	fail(err)
	for _, pod := range list.Items {
		if quiet {
			fmt.Println(pod.Id)
		} else {
			fmt.Println(pod.Id[:13], pod.State, pod.Metadata.Namespace, pod.Metadata.Name)
		}
	}
}

func containers(ctx context.Context, runtime cri.RuntimeServiceClient, all, quiet bool) {
	list, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	fail(err)
	for _, c := range list.Containers {
		if c.State != cri.ContainerState_CONTAINER_RUNNING && !all {
			continue
		}
		if quiet {
			fmt.Println(c.Id)
		} else {
			fmt.Println(c.Id[:13], c.State, c.Metadata.Name, c.Metadata.Attempt, c.Labels["io.kubernetes.pod.name"])
		}
	}
}

func images(ctx context.Context, images cri.ImageServiceClient) {
	list, err := images.ListImages(ctx, &cri.ListImagesRequest{})
	fail(err)
	for _, image := range list.Images {
		fmt.Println(image.Id, image.Size_, strings.Join(image.RepoTags, " "))
	}
}

func main() {
	socket, args := "unix:///run/containerd/containerd.sock", os.Args[1:]
	if len(args) > 1 && (args[0] == "-r" || args[0] == "--runtime-endpoint") {
		socket, args = args[1], args[2:]
	}
	if strings.HasPrefix(socket, "/") {
		socket = "unix://" + socket
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	flags, names := map[string]bool{}, []string{}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "-") {
			for _, letter := range strings.TrimLeft(arg, "-") {
				flags[string(letter)] = true
			}
		} else {
			names = append(names, arg)
		}
	}
	dial, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	connection, err := grpc.DialContext(dial, socket, grpc.WithInsecure(), grpc.WithBlock())
	fail(err)
	ctx, end := context.WithTimeout(context.Background(), 5*time.Minute)
	defer end()
	runtime, store := cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection)
	switch {
	case args[0] == "info":
		status, err := runtime.Status(ctx, &cri.StatusRequest{Verbose: true})
		fail(err)
		print(status)
	case args[0] == "version":
		version, err := runtime.Version(ctx, &cri.VersionRequest{})
		fail(err)
		print(version)
	case args[0] == "images":
		images(ctx, store)
	case args[0] == "pods":
		pods(ctx, runtime, flags["q"])
	case args[0] == "ps":
		containers(ctx, runtime, flags["a"], flags["q"])
	case len(names) == 0:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	default:
		for _, name := range names {
			one(ctx, runtime, store, args[0], name)
		}
	}
}

// A verb that has an object.
func one(ctx context.Context, runtime cri.RuntimeServiceClient, store cri.ImageServiceClient, verb, name string) {
	image := &cri.ImageSpec{Image: tagged(name)}
	switch verb {
	case "pull":
		pulled, err := store.PullImage(ctx, &cri.PullImageRequest{Image: image})
		fail(err)
		fmt.Println("Image is up to date for", pulled.ImageRef)
	case "inspecti":
		status, err := store.ImageStatus(ctx, &cri.ImageStatusRequest{Image: image})
		fail(err)
		if status.Image == nil {
			fail(fmt.Errorf("no such image %q present", name))
		}
		print(status)
	case "stopp":
		_, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: name})
		fail(err)
		fmt.Println("Stopped sandbox", name)
	case "rmp":
		_, err := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: name})
		fail(err)
		fmt.Println("Removed sandbox", name)
	case "logs":
		logs(ctx, runtime, name)
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}
