//! Documents of kubeadm: merged field by field, converted between API versions, every value with the place it came from.
