"""A student that learns from texts which its teachers write."""
