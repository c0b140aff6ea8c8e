#!/bin/sh
# Packages do not start services: there is nothing to run them.
exit 101
