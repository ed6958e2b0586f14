"""What each request used: measured by routers, recorded once in SQL, summed for tenants."""
