//go:build ignore

// kinds - decode Kubernetes objects into the types of their API, strictly: an unknown field or a wrong type is an error.
//
// usage: kinds FILE...
//
// It stands in for kubeconform where the schemas cannot be fetched. `check` compiles it. What the API server checks
// beyond types (required fields, formats of values) it does not see. Kinds that Kubernetes does not bring are skipped.
package main

import (
	"fmt"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

var kinds = map[string]func() any{
	"apps/v1 Deployment":            func() any { return &appsv1.Deployment{} },
	"apps/v1 StatefulSet":           func() any { return &appsv1.StatefulSet{} },
	"policy/v1 PodDisruptionBudget": func() any { return &policyv1.PodDisruptionBudget{} },
	"v1 ConfigMap":                  func() any { return &corev1.ConfigMap{} },
	"v1 Secret":                     func() any { return &corev1.Secret{} },
	"v1 Service":                    func() any { return &corev1.Service{} },
	"v1 ServiceAccount":             func() any { return &corev1.ServiceAccount{} },
}

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for _, document := range strings.Split("\n"+string(text), "\n---\n") {
			var head struct {
				APIVersion string `json:"apiVersion"`
				Kind       string `json:"kind"`
			}
			if err := yaml.Unmarshal([]byte(document), &head); err != nil {
				fmt.Printf("%s: %v\n", path, err)
				failed = true
			} else if head.Kind == "" {
				continue
			} else if make, known := kinds[head.APIVersion+" "+head.Kind]; !known {
				fmt.Printf("%s: skipped: %s %s\n", path, head.APIVersion, head.Kind)
			} else if err := yaml.UnmarshalStrict([]byte(document), make()); err != nil {
				fmt.Printf("%s: %s: %v\n", path, head.Kind, err)
				failed = true
			} else {
				fmt.Printf("%s: %s\n", path, head.Kind)
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
