module cars

go 1.25
