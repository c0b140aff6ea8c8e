//! Cluster images: a Kubefile in, one OCI index out that holds a root file system and every image that it names.
