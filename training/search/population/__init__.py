"""A search by population: networks train side by side, and the weak ones copy and perturb the strong ones."""
