"""A software bill of materials in the form of CycloneDX: installed packages, packages of the system, and models."""
