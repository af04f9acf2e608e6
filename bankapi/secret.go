package bankapi

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"placard/linking"
)

// Secret is a text that must not get into logs, errors or dumps. However it is
// printed or marshalled, it shows as ***; only Reveal tells it. The text stands
// behind a pointer because fmt prints the fields of a struct without asking a
// field that is not exported how it wants to be shown.
type Secret struct{ text *string }

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text itself; the zero Secret is empty.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

const hidden = "***"

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, hidden) }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// UnmarshalText takes a secret in, as from a configuration file.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// Sealer encrypts the secrets of connections with AES-256-GCM, so that who reads
// the store, or a backup of it, cannot act as a merchant at his bank. Its keys
// live outside the store, and whoever loses them must enter all credentials again.
//
// A sealed text is: format (1 byte, 1) · which key (4 bytes) · nonce (12 bytes) ·
// ciphertext and tag. It opens only for the connection and rail it was sealed for.
type Sealer struct {
	order []keyID // the first seals, every one opens
	keys  map[keyID]cipher.AEAD
}

// keyID is the beginning of the key's SHA-256: enough to pick the right key, too
// little to help against 256 random bits.
type keyID [4]byte

const sealFormat = 1

// keySize is that of AES-256.
const keySize = 32

// NewSealer seals with the first of keys and opens with any. Each is 32 random bytes.
func NewSealer(keys ...[]byte) (*Sealer, error) {
	s := &Sealer{keys: map[keyID]cipher.AEAD{}}
	for _, k := range keys {
		if len(k) != keySize {
			return nil, fmt.Errorf("a sealing key is %d bytes, not %d", keySize, len(k))
		}
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, err
		}
		gcm, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("placard sealing key\n"), k...))
		id := keyID(sum[:4])
		if _, twice := s.keys[id]; twice {
			return nil, errors.New("a sealing key is given twice")
		}
		s.keys[id], s.order = gcm, append(s.order, id)
	}
	if len(s.order) == 0 {
		return nil, errors.New("there is no sealing key")
	}
	return s, nil
}

// OpenKeyFile reads the sealing keys from a file of lines, each 32 bytes in base
// 64; lines that begin with # are left out. The first key seals, and older ones
// below it still open, which is how a key is changed. A file that others than its
// owner may read is refused.
//
// If there is no such file and create is set, one is made with a new key; two
// processes that do so at the same time end up with the same one.
func OpenKeyFile(path string, create bool) (*Sealer, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := makeKeyFile(path); err != nil {
			return nil, fmt.Errorf("the key file %s cannot be made: %w", path, err)
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s may be read by others (mode %04o); make it 0600", path, info.Mode().Perm())
	}
	var keys [][]byte
	lines := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.AppendDecode(nil, line)
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("line %d of the key file %s is not %d bytes in base 64", n, path, keySize)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	s, err := NewSealer(keys...)
	if err != nil {
		return nil, fmt.Errorf("the key file %s: %w", path, err)
	}
	return s, nil
}

// makeKeyFile writes a whole file under another name and links it to path, so
// that nobody ever reads half a key and nobody's key is replaced.
func makeKeyFile(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	key := make([]byte, keySize)
	rand.Read(key)
	_, err = fmt.Fprintf(f, "# Placard seals bank credentials with this key. Keep a copy apart from the store's.\n%s\n",
		base64.StdEncoding.EncodeToString(key))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Seal encrypts named secrets for one connection. What a rail calls its secrets
// is said by the rail.
func (s *Sealer) Seal(id linking.ConnectionID, rail string, secrets map[string]Secret) ([]byte, error) {
	open := make(map[string]string, len(secrets))
	for name, v := range secrets {
		open[name] = v.Reveal()
	}
	text, err := json.Marshal(open)
	if err != nil {
		return nil, err
	}
	key := s.order[0]
	sealed := append([]byte{sealFormat}, key[:]...)
	return s.keys[key].Seal(sealed, nil, text, sealedFor(id, rail)), nil
}

// Open decrypts what Seal made for the same connection and rail. A connection
// that has no secrets was sealed as nothing.
func (s *Sealer) Open(id linking.ConnectionID, rail string, sealed []byte) (map[string]Secret, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	if len(sealed) < 1+len(keyID{}) || sealed[0] != sealFormat {
		return nil, errors.New("the connection's credentials are in an unknown format")
	}
	gcm, ok := s.keys[keyID(sealed[1:5])]
	if !ok {
		return nil, errors.New("the connection's credentials were sealed with a key that is not in the key file; enter them again, or add the key")
	}
	text, err := gcm.Open(nil, nil, sealed[5:], sealedFor(id, rail))
	if err != nil {
		return nil, errors.New("the connection's credentials are damaged, or belong to another connection; enter them again")
	}
	var open map[string]string
	if err := json.Unmarshal(text, &open); err != nil {
		return nil, errors.New("the connection's credentials are damaged; enter them again")
	}
	secrets := make(map[string]Secret, len(open))
	for name, v := range open {
		secrets[name] = NewSecret(v)
	}
	return secrets, nil
}

func sealedFor(id linking.ConnectionID, rail string) []byte {
	return []byte("placard connection\n" + string(id) + "\n" + rail)
}
