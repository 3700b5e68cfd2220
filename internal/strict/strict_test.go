package strict

import (
	"strings"
)

// A car has the fields that the API's cars have.
type car struct {
	ID           int    `json:"id"`
	Name         string `json:"name"`
	Manufacturer string `json:"manufacturer"`
	Category     string `json:"category"`
	Year         int    `json:"year"`
	Price        int    `json:"price"`
	ImageURL     string `json:"imageUrl"`
	Details      struct {
		Engine       string `json:"engine"`
		Horsepower   int    `json:"horsepower"`
		Transmission string `json:"transmission"`
		Drivetrain   string `json:"drivetrain"`
	} `json:"details"`
}

const maxID = 1<<53 - 1

var carFields = Table{
	{Name: "id", Number: func(v any) *int { return &v.(*car).ID }, Least: 1, Most: maxID},
	{Name: "name", Text: func(v any) *string { return &v.(*car).Name }, Least: 1, Most: 200},
	{Name: "manufacturer", Text: func(v any) *string { return &v.(*car).Manufacturer }, Least: 1, Most: 100, Shared: true},
	{Name: "category", Text: func(v any) *string { return &v.(*car).Category }, Most: 50, Shared: true},
	{Name: "year", Number: func(v any) *int { return &v.(*car).Year }, CheckNumber: checkYear},
	{Name: "price", Number: func(v any) *int { return &v.(*car).Price }, Most: 1_000_000_000},
	{Name: "imageUrl", Text: func(v any) *string { return &v.(*car).ImageURL }, Most: 2048, CheckText: checkImageURL, Shared: true},
	{Name: "details.engine", Text: func(v any) *string { return &v.(*car).Details.Engine }, Most: 200, Shared: true},
	{Name: "details.horsepower", Number: func(v any) *int { return &v.(*car).Details.Horsepower }, Most: 5000},
	{Name: "details.transmission", Text: func(v any) *string { return &v.(*car).Details.Transmission }, Most: 200, Shared: true},
	{Name: "details.drivetrain", Text: func(v any) *string { return &v.(*car).Details.Drivetrain }, Most: 200, Shared: true},
}

func checkYear(year int) string {
	if year != 0 && (year < 1886 || year > 2028) {
		return "must be 0 or between 1886 and 2028"
	}
	return ""
}

func checkImageURL(text string) string {
	if !strings.HasPrefix(text, "/") {
		return "must be a path"
	}
	return ""
}

const audi = `{"id":1,"name":"Audi A4","manufacturer":"Audi","category":"Sedan","year":2024,"price":42000,"imageUrl":"/images/sedan.svg",` +
	`"details":{"engine":"2.0L Inline-4","horsepower":201,"transmission":"7-speed Automatic","drivetrain":"All-Wheel Drive"}}`
