"""The HTTP side of an API process: connections, who may do what, the routes, and the application around them."""
