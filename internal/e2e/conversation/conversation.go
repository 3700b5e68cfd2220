// Package conversation plays conversations with a server that are written down as text.
//
// A file holds conversations about one topic. Each begins with ###, the rule that it
// shows, and holds requests, each with the answer that the server must give:
//
//	### A car is found under its ID.
//	GET /api/cars/1
//	Accept: application/json
//
//	HTTP 200
//	ETag: "…"
//
//	{"id":1,"name":"Audi A4",…}
//
// Requests go to a server with the built-in cars, started as "cars -delay 0", and what
// they change stays changed. A line such as
//
//	# server: CARS_TOKEN=secret cars -delay 0 -read-only
//
// starts another one for the requests below it. All other lines with one # are comments.
//
// A request is sent to localhost, and its body as JSON, unless its header says otherwise.
// One whose first line ends in HTTP/1.0 is sent so, and without Host.
//
// Of an answer, the status and the header fields that are named must be as written; a
// field without a value must be missing. Its body, if one is given, is compared as JSON
// if it is JSON, and else as text. Compressed bodies are unpacked first.
//
// These stand for something else:
//
//	…              in an answer: anything; among the members of an object or the
//	               elements of an array: any others
//	{{name}}       in an answer for the first time: anything, kept under this name;
//	               from then on: what was kept
//	{{200 * "é"}}  a text 200 times; in it, \xff and \u00e9 are as in Go
//	{{year + 2}}   a year from now: here, the year after next
//
// A line such as @id = 0 | -1 | 01 below the rule has the conversation held once with
// each of these values for {{id}}. Further lines for the same name bring more values.
package conversation

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A File holds conversations about one topic.
type File struct {
	Name          string // of the topic
	conversations []conversation
}

// A conversation shows one rule.
type conversation struct {
	rule      string
	server    string   // the command that starts the server for it; empty: the one before
	names     []string // that have several values, in the order in which they are given
	values    map[string][]string
	exchanges []exchange
}

// An exchange is a request and the answer that it must get.
type exchange struct {
	at           string // file and line
	method       string
	target       string
	header       []string
	body         string
	status       string
	answerHeader []string
	answerBody   string
}

const defaultServer = "cars -delay 0"

// A request begins with a line such as GET /api/cars, its answer with one such as
// HTTP 200.
var (
	requestLine = regexp.MustCompile(`^([A-Za-z]+|\{\{\w+\}\}) ((?:/|\*|http://|\{\{).*)$`)
	statusLine  = regexp.MustCompile(`^HTTP (\d{3}|\{\{\w+\}\})$`)
)

// Read reads the files that match a pattern such as testdata/*.http.
func Read(pattern string) (files []File, err error) {
	paths, err := filepath.Glob(pattern)
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("conversation: no files match %s", pattern)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		conversations, err := parse(path, string(text))
		if err != nil {
			return nil, err
		}
		files = append(files, File{strings.TrimSuffix(filepath.Base(path), ".http"), conversations})
	}
	return files, err
}

// parse reads the text of a file.
func parse(path, text string) (all []conversation, err error) {
	server := defaultServer
	var c *conversation
	var e *exchange
	part := skip // what the next line belongs to
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", path, i+1)
		rule, isRule := strings.CutPrefix(line, "### ")
		command, isServer := strings.CutPrefix(line, "# server: ")
		request, status := requestLine.FindStringSubmatch(line), statusLine.FindStringSubmatch(line)
		switch {
		case isRule:
			all = append(all, conversation{rule: rule, server: server, values: make(map[string][]string)})
			c, server, part = &all[len(all)-1], "", skip
		case isServer:
			server, part = command, skip
		case strings.HasPrefix(line, "#"):
		case c == nil && line == "":
		case c == nil:
			return nil, fmt.Errorf("%s: there is no ### with a rule above", at)
		case part == skip && strings.HasPrefix(line, "@"):
			name, values, found := strings.Cut(line[1:], " = ")
			if !found {
				return nil, fmt.Errorf("%s: a line with @ is to look like @name = value | value", at)
			}
			if c.values[name] == nil {
				c.names = append(c.names, name)
			}
			for value := range strings.SplitSeq(values, "|") {
				c.values[name] = append(c.values[name], strings.TrimSpace(value))
			}
		case (part == skip || part == answerBody) && request != nil:
			c.exchanges = append(c.exchanges, exchange{at: at, method: request[1], target: request[2]})
			e, part = &c.exchanges[len(c.exchanges)-1], requestHeader
		case (part == requestHeader || part == requestBody) && status != nil:
			e.status, part = status[1], answerHeader
		case line == "" && (part == requestHeader || part == answerHeader):
			part++
		case part == requestHeader:
			e.header = append(e.header, line)
		case part == answerHeader:
			e.answerHeader = append(e.answerHeader, line)
		case part == requestBody:
			e.body += line + "\n"
		case part == answerBody:
			e.answerBody += line + "\n"
		case line != "":
			return nil, fmt.Errorf("%s: here a request such as GET /api/cars is to stand", at)
		}
	}
	for _, c := range all {
		for _, e := range c.exchanges {
			if e.status == "" {
				return nil, fmt.Errorf("%s: the answer, which begins with a line such as HTTP 200, is missing", e.at)
			}
		}
	}
	return all, nil
}

const (
	skip = iota // nothing: a rule or a request is next
	requestHeader
	requestBody
	answerHeader
	answerBody
)

// request returns e as it goes over the connection, and its body alone.
func (e exchange) request(known variables) (whole, body []byte, err error) {
	body = []byte(known.expand(strings.TrimSpace(e.body)))
	var b bytes.Buffer
	target, isOld := strings.CutSuffix(known.expand(e.target), " HTTP/1.0")
	version := "HTTP/1.1"
	if isOld {
		version = "HTTP/1.0"
	}
	fmt.Fprintf(&b, "%s %s %s\r\n", known.expand(e.method), target, version)
	given := make(map[string]bool)
	for _, line := range e.header {
		line = known.expand(line)
		name, _, _ := strings.Cut(line, ":")
		given[strings.ToLower(name)] = true
		b.WriteString(line + "\r\n")
	}
	if !given["host"] && !isOld {
		b.WriteString("Host: localhost\r\n")
	}
	if !given["content-type"] && len(body) > 0 {
		b.WriteString("Content-Type: application/json\r\n")
	}
	if !given["content-length"] {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	head := b.String()
	if left := placeholder.FindString(head + string(body)); left != "" {
		return nil, nil, fmt.Errorf("nothing is known for %s", left)
	}
	return append([]byte(head), body...), body, nil
}

// variables are what {{name}} stands for.
type variables map[string]string

var (
	placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)
	calculated  = regexp.MustCompile(`\{\{(?:(\d+) \* ("(?:[^"\\]|\\.)*")|year \+ (\d+))\}\}`)
)

// expand puts what they stand for in the place of all {{…}} that stand for something.
func (v variables) expand(text string) string {
	for range 2 { // a value may have some, too
		text = placeholder.ReplaceAllStringFunc(text, func(name string) string {
			if value, known := v[name[2:len(name)-2]]; known {
				return value
			}
			return name
		})
	}
	return calculated.ReplaceAllStringFunc(text, func(found string) string {
		part := calculated.FindStringSubmatch(found)
		if part[3] != "" {
			years, _ := strconv.Atoi(part[3])
			return strconv.Itoa(time.Now().Year() + years)
		}
		times, _ := strconv.Atoi(part[1])
		once, err := strconv.Unquote(part[2])
		if err != nil {
			return found
		}
		return strings.Repeat(once, times)
	})
}
