"""The store in a bucket: S3, Google Cloud Storage, Azure, or the same layout on a disk."""
