//! Which container images the manifests of Kubernetes name, where, and by which rule they were found.
