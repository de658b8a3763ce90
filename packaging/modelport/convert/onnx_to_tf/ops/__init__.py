"""The lowerings, by kind of op. Each module registers its functions when it is imported."""
