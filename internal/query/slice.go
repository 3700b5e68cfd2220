package query

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"cars/internal/sorted"
)

// maxSlice bounds _start, _end, _limit and _page, so that neither the sum nor
// the product of two overflows an int64.
const maxSlice = 1_000_000_000

// slice reads the parameters that slice the list. As in json-server 0.17, _page takes
// precedence over _end, and _end over _limit.
func (p *parser) slice() error {
	start, errStart := Int(p.values, "_start", 0, maxSlice, 0)
	end, errEnd := Int(p.values, "_end", 0, maxSlice, -1)
	limit, errLimit := Int(p.values, "_limit", 0, maxSlice, -1)
	page, errPage := Int(p.values, "_page", 1, maxSlice, 0)
	perPage, errPerPage := Int(p.values, "_per_page", 1, maxSlice, 0)
	if err := cmp.Or(errStart, errEnd, errLimit, errPage, errPerPage); err != nil {
		return err
	}
	for _, param := range []string{"_start", "_end", "_limit", "_page"} {
		if len(p.values[param]) > 0 {
			p.q.arrangedBy = cmp.Or(p.q.arrangedBy, param)
		}
	}
	q := p.q
	switch {
	case page > 0 && limit == 0 && perPage == 0:
		return malformed("_limit must be at least 1 with _page")
	case page > 0:
		q.page, q.size, q.envelope = page, cmp.Or(perPage, max(limit, 0), 10), perPage > 0
		q.start, q.end = (page-1)*q.size, page*q.size
	case end >= 0:
		q.start, q.end = start, end
	case limit >= 0:
		q.start, q.end = start, start+limit
	default:
		q.start, q.end = start, math.MaxInt
	}
	return nil
}

// window returns which of total items the query wants: from start to end, end not included.
func (q *Query) window(total int) (start, end int) {
	start, end = q.start, q.end
	if q.envelope {
		page, _ := q.pages(total)
		start, end = (page-1)*q.size, page*q.size
	}
	return min(start, total), min(end, total)
}

// pages returns, for a list of total items, the number of the page to answer with and of the
// last page. In an envelope, a page beyond the last becomes the last.
func (q *Query) pages(total int) (page, last int) {
	last = max(1, (total+q.size-1)/q.size)
	if q.envelope {
		return min(q.page, last), last
	}
	return q.page, last
}

// Envelope returns the part of an answer before its array, if the answer is an object with
// the array in it, as in json-server 1.x. Otherwise it returns "". A } follows the array.
func (q *Query) Envelope(total int) string {
	if !q.envelope {
		return ""
	}
	page, last := q.pages(total)
	prev, next := "null", "null"
	if page > 1 {
		prev = strconv.Itoa(page - 1)
	}
	if page < last {
		next = strconv.Itoa(page + 1)
	}
	return fmt.Sprintf(`{"first":1,"prev":%s,"next":%s,"last":%d,"pages":%[3]d,"items":%[4]d,"data":`, prev, next, last, total)
}

// Links returns the value of the Link header (RFC 8288) of a page: the URLs of the first,
// previous, next and last page of a list of total items. It is "" if no page was asked for.
// base is the URL of the list as its client knows it, without a query; rawQuery is the query
// of the request. The page before one that is beyond the last is the last.
func (q *Query) Links(base, rawQuery string, total int) string {
	if q.page == 0 {
		return ""
	}
	page, last := q.pages(total)
	values, _ := url.ParseQuery(rawQuery) // does not fail: rawQuery has been parsed before
	var links []string
	link := func(rel string, page int) {
		values.Set("_page", strconv.Itoa(page))
		links = append(links, fmt.Sprintf(`<%s?%s>; rel="%s"`, base, values.Encode(), rel))
	}
	link("first", 1)
	if page > 1 {
		link("prev", min(page-1, last))
	}
	if page < last {
		link("next", page+1)
	}
	link("last", last)
	return strings.Join(links, ", ")
}

// slice returns the items from start to end, end not included, of all blocks together. The
// result shares the memory of blocks.
func slice(blocks [][]*sorted.Item, start, end int) [][]*sorted.Item {
	var pieces [][]*sorted.Item
	for _, block := range blocks {
		if from, to := min(start, len(block)), min(end, len(block)); from < to {
			pieces = append(pieces, block[from:to])
		}
		start, end = max(0, start-len(block)), end-len(block)
		if end <= 0 {
			break
		}
	}
	return pieces
}
