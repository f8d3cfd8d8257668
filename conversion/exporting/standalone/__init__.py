"""The parts of standalone exports: `conversion.exporting.source_bundle` copies their source into the exported files."""
