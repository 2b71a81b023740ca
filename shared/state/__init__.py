"""What the processes of a deployment share beside messages: quota, holds, claims, journal and ways, in a database."""
