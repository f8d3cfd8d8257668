"""The gRPC door: the Open Inference Protocol on HTTP/2 connections, on the event loop of the API process."""
