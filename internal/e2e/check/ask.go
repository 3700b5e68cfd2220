package check

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// An answer is what is of interest in one.
type answer struct {
	status  int
	id      int
	price   int       // absent without a car
	all     Catalogue // of a list
	tag     string
	version string
	again   string // Retry-After
}

// ask sends a request, with If-Match if tag is not empty.
func (c *client) ask(method, target, body, tag string) (answer, error) {
	var got answer
	r, err := http.NewRequest(method, "http://localhost"+target, strings.NewReader(body))
	if err != nil {
		return got, err
	}
	r.Header.Set("Accept-Encoding", "identity")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if tag != "" {
		r.Header.Set("If-Match", tag)
	}
	resp, err := c.Send(c.number, r)
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return got, err
	}
	got = answer{status: resp.StatusCode, tag: resp.Header.Get("ETag"), version: resp.Header.Get("Catalogue-Version"), again: resp.Header.Get("Retry-After")}
	switch got.status {
	case http.StatusOK, http.StatusCreated:
		err = c.read(&got, text)
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusInsufficientStorage:
	case http.StatusServiceUnavailable:
		if !c.Faulty {
			err = fmt.Errorf("%s %s: got %s", method, target, text)
		}
	default:
		err = fmt.Errorf("%s %s: got %d %s", method, target, got.status, text)
	}
	return got, err
}

// read reads the car or the list in an answer.
func (c *client) read(got *answer, text []byte) error {
	type car struct{ ID, Price int }
	list := make([]car, 1)
	var err error
	if text[0] == '[' {
		err = json.Unmarshal(text, &list)
	} else {
		err = json.Unmarshal(text, &list[0])
		got.id, got.price = list[0].ID, list[0].Price
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	prices := make(map[int]int)
	for _, one := range list {
		if _, twice := prices[one.ID]; twice {
			return fmt.Errorf("ID %d is there twice", one.ID)
		}
		prices[one.ID] = one.Price
		c.seenAt[one.Price] = one.ID
	}
	if text[0] != '[' {
		return nil
	}
	if got.all, err = c.Collapse(prices); err != nil {
		return err
	}
	if got.version == "" {
		return nil
	}
	if old, known := c.versions[got.version]; known && !old.equal(got.all) {
		return fmt.Errorf("version %s is %v, and %v", got.version, old, got.all)
	}
	c.versions[got.version] = got.all
	return nil
}
