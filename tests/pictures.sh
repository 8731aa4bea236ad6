#!/bin/sh
# The pictures of the guides are what examples/pictures.py draws; and a picture that was changed by hand is noticed.
#
# pictures.sh SOURCE_DIR PYTHON
set -eu
examples=$1/examples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$2" "$examples/pictures.py" "$work"
for picture in "$work"/*.svg; do
    cmp "$picture" "$examples/$(basename "$picture")" || { echo "draw it again: examples/pictures.py examples" >&2; exit 1; }
    sed 's/#222/#223/' "$examples/$(basename "$picture")" | cmp -s - "$picture" && { echo "a changed picture was not noticed" >&2; exit 1; }
done
echo "the pictures are as examples/pictures.py draws them"
