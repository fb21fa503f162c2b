// Loads an object with cilium/ebpf and runs its programs once; prints what they returned.
//
//	load FILE TYPES [PROGRAM...]
//
// TYPES is the BTF of the kernel that CO-RE is applied for.
package main

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func main() {
	if err := load(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintf(os.Stderr, "%+v\n", err)
		os.Exit(1)
	}
}

func load(path, types string, programs []string) error {
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		return err
	}
	kernel, err := btf.LoadSpec(types)
	if err != nil {
		return err
	}
	options := ebpf.CollectionOptions{}
	options.Programs.KernelTypes = kernel
	collection, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		return err
	}
	defer collection.Close()
	for name := range collection.Maps {
		fmt.Printf("map %s\n", name)
	}
	for name := range collection.Programs {
		fmt.Printf("program %s\n", name)
	}
	for _, name := range programs {
		result, _, err := collection.Programs[name].Test(make([]byte, 64))
		if err != nil {
			return err
		}
		fmt.Printf("%s returned %d\n", name, result)
	}
	return nil
}
