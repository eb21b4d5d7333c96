"""A real one-node Kubernetes on this machine, built from Go modules: no Docker, no downloads of binaries.

commands  what the command line offers
cluster   the steps of `up`, in their order
  prerequisites  packages, Go, disk, ports
  build          the programs, cached outside the checkout
  network        bridge, route, kernel switches
  certificates   one CA, kubeconfigs, client certificates for test persons
  node           containerd, CNI, kubelet, kube-proxy
  control_plane  etcd, API server, controller-manager, scheduler
  stores         OCI registry and S3 server
  addons         CoreDNS, the static volume
teardown  the steps of `down`, also after a kill -9
  leftovers      pure: which mounts, rules and shims are ours
machine   which checkout's cluster owns this machine
processes, steps, settings   the tools all of them use
"""
