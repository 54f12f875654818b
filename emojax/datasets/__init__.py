"""Published datasets as their authors pack them, to manifests, a file a dataset; manifests joined; TFDS."""
