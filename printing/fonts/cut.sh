#!/usr/bin/env bash
# Cuts DejaVu Sans Condensed 2.37 to the scripts that print one letter after the
# other without shaping: Latin (Vietnamese too), Greek, Cyrillic, Armenian, Georgian,
# and the signs of currencies. Hints and kerning go: nothing here uses them. A tenth
# of the size, and half the time that a PDF takes to embed it.
#
#	apt-get install fonttools fonts-dejavu-extra
#	printing/fonts/cut.sh /usr/share/fonts/truetype/dejavu
set -eu
cd "$(dirname "$0")"
from=$1
for name in DejaVuSansCondensed DejaVuSansCondensed-Bold; do
	pyftsubset "$from/$name.ttf" --output-file="$name.ttf" --no-hinting --layout-features='' \
		--drop-tables+=GPOS,GSUB,GDEF,kern,FFTM --no-recalc-timestamp --notdef-outline \
		--unicodes=U+0020-007E,U+00A0-024F,U+0259,U+02C6-02DD,U+0370-03FF,U+0400-052F,U+0531-058A,U+10A0-10FF,U+1E00-1EFF,U+2010-2027,U+2030-203A,U+2044,U+20A0-20BF,U+2116,U+2122,U+2190-2193,U+2212,U+2713
done
