"""What auth costs and what it gives away: the guard, refreshes, logins, a flood of them, and who exists."""
