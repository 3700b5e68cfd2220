package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A browser is a session of chromedriver, driven as W3C WebDriver says. What goes
// wrong ends the test.
type browser struct {
	t   *testing.T
	url string // of the session
}

// startBrowser opens a browser of 1200 by 900 pixels, with a profile of its own. It asks
// for less motion, or what is to be clicked would move.
func startBrowser(t *testing.T, more ...string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
	}
	cmd := exec.Command(path, "--port=0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	b := &browser{t: t}
	for lines := bufio.NewScanner(stdout); b.url == "" && lines.Scan(); {
		if port := regexp.MustCompile(`successfully on port (\d+)`).FindStringSubmatch(lines.Text()); port != nil {
			b.url = "http://localhost:" + port[1]
		}
	}
	go io.Copy(io.Discard, stdout)
	if b.url == "" {
		t.Fatal("chromedriver ended before it listened")
	}
	args := append([]string{"--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion", "--window-size=1200,900", "--user-data-dir=" + t.TempDir()}, more...)
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to have one as root
	}
	var session struct{ SessionID string }
	b.call("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:chromeOptions": map[string]any{"args": args},
		"goog:loggingPrefs":  map[string]string{"browser": "ALL"},
		"timeouts":           map[string]int{"script": 20_000, "implicit": 10_000},
	}}}, &session)
	b.url += "/session/" + session.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) })
	return b
}

// call sends a command; result is what its value is decoded into, or nil.
func (b *browser) call(method, path string, params, result any) {
	b.t.Helper()
	if err := b.try(method, path, params, result); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) try(method, path string, params, result any) error {
	var body io.Reader
	if method == "POST" {
		if params == nil {
			params = struct{}{}
		}
		text, err := json.Marshal(params)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, b.url+path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s %s %v: %.600s", method, path, params, answer.Value)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, result)
}

// open leads the window to an address.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call("POST", "/url", map[string]string{"url": url}, nil)
}

// element returns the path of the first element that a CSS selector finds, within ten
// seconds.
func (b *browser) element(selector string) string {
	b.t.Helper()
	var found map[string]string // the one key is defined by the protocol
	b.call("POST", "/element", map[string]string{"using": "css selector", "value": selector}, &found)
	for _, id := range found {
		return "/element/" + id
	}
	return ""
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.call("POST", b.element(selector)+"/click", nil, nil)
}

// write puts a text in the place of the one in a field, as by hand.
func (b *browser) write(selector, text string) {
	b.t.Helper()
	field := b.element(selector)
	b.call("POST", field+"/clear", nil, nil)
	b.call("POST", field+"/value", map[string]string{"text": text}, nil)
}

// choose picks an option by typing what it says.
func (b *browser) choose(selector, text string) {
	b.t.Helper()
	b.call("POST", b.element(selector)+"/value", map[string]string{"text": text}, nil)
}

// Keys of the protocol (W3C WebDriver, section 17.4.2).
const (
	keyTab    = "\ue004"
	keyEnter  = "\ue007"
	keyEscape = "\ue00c"
)

// press presses keys one after the other, wherever the focus is.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	var actions []map[string]string
	for _, key := range keys {
		actions = append(actions, map[string]string{"type": "keyDown", "value": key}, map[string]string{"type": "keyUp", "value": key})
	}
	b.call("POST", "/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": actions}}}, nil)
}

// eval returns the value of a JavaScript expression.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	var value any
	b.call("POST", "/execute/sync", map[string]any{"script": "return " + expression, "args": []any{}}, &value)
	return value
}

// until waits for a JavaScript expression to be true.
func (b *browser) until(expression string) {
	b.t.Helper()
	script := `const done = arguments[0];
		const look = () => { let is = false; try { is = ` + expression + ` } catch {} is ? done() : setTimeout(look, 10) };
		look()`
	if err := b.try("POST", "/execute/async", map[string]any{"script": script, "args": []any{}}, nil); err != nil {
		text, _ := b.eval(`(document.querySelector("dialog[open]") ?? document.querySelector(".status")).innerText`).(string)
		b.t.Fatalf("waited in vain for %s at %v: %.600s", expression, b.eval("location.href"), text)
	}
}

// untilText waits for the text of an element to contain another.
func (b *browser) untilText(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector(%q).innerText.includes(%q)", selector, text))
}

// answer waits for a question whose text contains another, and answers it.
func (b *browser) answer(question, text string) {
	b.t.Helper()
	var asked string
	for start := time.Now(); b.try("GET", "/alert/text", nil, &asked) != nil || !strings.Contains(asked, question); {
		if time.Since(start) > 10*time.Second {
			b.t.Fatalf("was asked %q, want %q", asked, question)
		}
	}
	b.call("POST", "/alert/text", map[string]string{"text": text}, nil)
	b.call("POST", "/alert/accept", nil, nil)
}

// newWindow opens one more window, makes it the one that commands are for, and returns
// functions that lead back and forth.
func (b *browser) newWindow() (toFirst, toSecond func()) {
	b.t.Helper()
	var first string
	b.call("GET", "/window", nil, &first)
	var second struct{ Handle string }
	b.call("POST", "/window/new", map[string]string{"type": "tab"}, &second)
	to := func(handle string) func() {
		return func() {
			b.t.Helper()
			b.call("POST", "/window", map[string]string{"handle": handle}, nil)
		}
	}
	toFirst, toSecond = to(first), to(second.Handle)
	toSecond()
	return toFirst, toSecond
}

// checkConsole wants nothing in the browser's log but what contains one of the texts:
// no broken policy, no exception.
func (b *browser) checkConsole(expected ...string) {
	b.t.Helper()
	var entries []struct{ Level, Message string }
	b.call("POST", "/se/log", map[string]string{"type": "browser"}, &entries)
next:
	for _, entry := range entries {
		for _, text := range expected {
			if strings.Contains(entry.Message, text) {
				continue next
			}
		}
		b.t.Errorf("console: %s %s", entry.Level, entry.Message)
	}
}
