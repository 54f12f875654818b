"""Who lies where: sharding, meshes, processes, chips, XLA's flags, kept programs."""
