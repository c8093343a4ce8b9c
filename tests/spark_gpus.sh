#!/bin/sh
# Tells Spark of a GPU that is not there, as nvidia-smi would of one that is.
echo '{"name": "gpu", "addresses": ["GPU-of-a-test"]}'
