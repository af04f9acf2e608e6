// Package printing makes what goes on paper, on labels and on screens: the QR
// symbol of a payload and its drawings. It knows paper and nothing else: no
// merchant, no code, no payment.
//
// A symbol is made once ([Encode]) and drawn as often as needed:
//
//	payload ──Encode──► Matrix ──SVG──► vector drawing for the web and for print
//	                        ├────PNG──► pixels, a whole number of them per module
//	                        ├────Text─► a terminal, in explicit black on white
//	                        └────Plain► text without colours
//
// Every drawing keeps the quiet zone: the four modules of white without which
// many cameras do not find the symbol (ISO/IEC 18004:2015, 6.3.8).
package printing
