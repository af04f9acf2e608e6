package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// assetTypes are the kinds of files there are. The system's own table would differ
// from machine to machine.
var assetTypes = map[string]string{
	".css":         "text/css; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".json":        "application/json",
	".yaml":        "application/yaml",
	".webmanifest": "application/manifest+json",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".ico":         "image/x-icon",
	".webp":        "image/webp",
	".woff2":       "font/woff2",
	".mp3":         "audio/mpeg",
	".txt":         "text/plain; charset=utf-8",
}

// packed already are these; packing them again gains nothing.
var packedTypes = map[string]bool{".png": true, ".webp": true, ".woff2": true, ".mp3": true}

// assets are the embedded files of the pages: scripts, styles, pictures. Each has
// an address with a piece of its content's hash in it, so that a browser may keep
// it for ever and never asks again. They live in memory, plain and packed; no file
// is read while serving.
type assets struct {
	byName    map[string]*asset // as it is called in the sources
	byAddress map[string]*asset // style.3f7a90c1d2e4.css
}

type asset struct {
	address     string // below assetRoot
	contentType string
	etag        string
	plain       []byte
	gzipped     []byte // nil if that is no gain
}

// assetRoot is where the assets are served.
const assetRoot = "/assets/"

// newAssets reads all files of dir. A file of a kind it does not know is an error.
func newAssets(dir fs.FS) (*assets, error) {
	a := &assets{map[string]*asset{}, map[string]*asset{}}
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		ext := path.Ext(name)
		contentType, ok := assetTypes[ext]
		if !ok {
			return fmt.Errorf("gateway: asset %s is of an unknown kind", name)
		}
		if ext == ".js" || ext == ".css" {
			content = lean(content)
		}
		sum := sha256.Sum256(content)
		hash := hex.EncodeToString(sum[:6])
		file := &asset{
			address:     strings.ReplaceAll(strings.TrimSuffix(name, ext), "/", "-") + "." + hash + ext,
			contentType: contentType,
			etag:        `"` + hash + `"`,
			plain:       content,
		}
		if !packedTypes[ext] {
			file.gzipped = gzipped(content)
		}
		a.byName[name], a.byAddress[file.address] = file, file
		return nil
	})
	return a, err
}

// lean leaves out what nobody's browser needs: indents, and lines that are a comment as
// a whole. It looks at lines alone, so no text of a script may go over one's end; a test
// keeps that.
func lean(source []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(source) {
		line = bytes.TrimLeft(line, " \t")
		if len(bytes.TrimSpace(line)) > 0 && !bytes.HasPrefix(line, []byte("//")) {
			b.Write(line)
		}
	}
	return b.Bytes()
}

// gzipped returns content packed, or nil if that saves less than a tenth.
func gzipped(content []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // a level that exists
	z.Write(content)                                      // a Buffer's writes do not fail
	z.Close()
	if b.Len() > len(content)*9/10 {
		return nil
	}
	return b.Bytes()
}

// url returns the address of an asset for a page. A name that does not exist is a
// fault of the page.
func (a *assets) url(name string) string {
	file, ok := a.byName[name]
	if !ok {
		panic("gateway: no asset " + name)
	}
	return assetRoot + file.address
}

// serve answers GET /assets/:file. The address changes with the content, so the
// answer holds for ever.
func (a *assets) serve(c *fiber.Ctx) error {
	file, ok := a.byAddress[c.Params("file")]
	if !ok {
		return fiber.ErrNotFound
	}
	return file.send(c, "public, max-age=31536000, immutable")
}

// fixed answers an address that cannot change with the content, such as that of a
// service worker: browsers ask each time, and mostly hear that it is the same.
func (a *assets) fixed(name string) fiber.Handler {
	file, ok := a.byName[name]
	if !ok {
		panic("gateway: no asset " + name)
	}
	return func(c *fiber.Ctx) error { return file.send(c, "no-cache") }
}

func (f *asset) send(c *fiber.Ctx, caching string) error {
	etag, body := f.etag, f.plain
	if f.gzipped != nil {
		c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
		if acceptsGzip(c.Get(fiber.HeaderAcceptEncoding)) {
			etag, body = strings.TrimSuffix(etag, `"`)+`-gzip"`, f.gzipped
			c.Set(fiber.HeaderContentEncoding, "gzip")
		}
	}
	c.Set(fiber.HeaderCacheControl, caching)
	c.Set(fiber.HeaderETag, etag)
	for candidate := range strings.SplitSeq(c.Get(fiber.HeaderIfNoneMatch), ",") {
		if candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/"); candidate == etag || candidate == "*" {
			c.Response().Header.Del(fiber.HeaderContentEncoding)
			c.Status(http.StatusNotModified)
			return nil
		}
	}
	c.Set(fiber.HeaderContentType, f.contentType)
	return c.Send(body)
}

// acceptsGzip reads an Accept-Encoding (RFC 9110, 12.5.3).
func acceptsGzip(header string) bool {
	for offer := range strings.SplitSeq(header, ",") {
		coding, params, _ := strings.Cut(offer, ";")
		if coding = strings.TrimSpace(coding); !strings.EqualFold(coding, "gzip") && coding != "*" {
			continue
		}
		weight, given := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		return !given || strings.Trim(weight, "0.") != ""
	}
	return false
}
